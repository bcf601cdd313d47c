// Draws docs/figures/taylor.svg: the error of linearAttention with Taylor features against softmax attention, by the order of
// the features. Prints the table of docs/linear.md. Run it after a build: npm run build && node docs/figures/taylor.mjs

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const ORDERS = [0, 2, 4, 6, 8];
const [T, H, K, V] = [64, 2, 4, 8];

/** Seeded normal numbers. */
function normals(count, seed) {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return Float32Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random()),
  );
}

/** Relative root mean square errors, one per order, by the float64 references. */
export function errorsOf({ scaledDotProductAttention, linearAttention, taylorFeatures }, tensor) {
  const [q, k, v] = [K, K, V].map((size, i) => tensor(normals(T * H * size, i + 1), [1, T, H, size]));
  const exact = scaledDotProductAttention(q, k, v, { isCausal: true }).dataSync();
  return ORDERS.map((order) => {
    const featureMap = (x) => taylorFeatures(x, { order });
    const output = linearAttention(q, k, v, { featureMap, normalize: true }).dataSync();
    const squares = (values) => values.reduce((sum, x) => sum + x * x, 0);
    return Math.sqrt(squares(output.map((x, i) => x - exact[i])) / squares(exact));
  });
}

/** Rows of the table. */
export const rowsOf = (errors) => errors.map((error, i) => [String(ORDERS[i]), error.toPrecision(2)]);

/** The figure: a line over a logarithmic axis from 1 to 0.001. */
export function figureOf(errors) {
  const [width, height, left, top] = [360, 200, 50, 30];
  const across = (order) => left + (width * order) / ORDERS.at(-1);
  const down = (error) => top + (height * -Math.log10(error)) / 3;
  const grid = [1, 0.1, 0.01, 0.001].map(
    (error) =>
      `<path d="M${left} ${down(error).toFixed(1)}h${width}" stroke="#ddd"/>` +
      `<text x="${left - 6}" y="${(down(error) + 4).toFixed(1)}" text-anchor="end">${error}</text>`,
  );
  const at = errors.map((error, i) => `${across(ORDERS[i])} ${down(error).toFixed(1)}`);
  const points = errors.map(
    (error, i) =>
      `<circle cx="${across(ORDERS[i])}" cy="${down(error).toFixed(1)}" r="3" fill="#4269d0"/>` +
      `<text x="${across(ORDERS[i])}" y="${top + height + 18}" text-anchor="middle">${ORDERS[i]}</text>`,
  );
  const title = 'Relative error against softmax attention, by order of the Taylor features';
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="440" height="260" font-family="sans-serif" font-size="12">` +
    `<title>${title}</title><rect width="440" height="260" fill="white"/><text x="10" y="16">${title}</text>` +
    `${grid.join('')}<path d="M${at.join('L')}" fill="none" stroke="#4269d0" stroke-width="1.5"/>${points.join('')}</svg>\n`
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [{ tensor }, { ready }, reference] = await Promise.all(
    ['@tensorflow/tfjs-core', '../../dist/index.js', '../../dist/reference.js'].map((name) => import(name)),
  );
  await ready();
  const errors = errorsOf(reference, tensor);
  writeFileSync(new URL('taylor.svg', import.meta.url), figureOf(errors));
  for (const row of rowsOf(errors)) console.log(`| ${row.join(' | ')} |`);
}
