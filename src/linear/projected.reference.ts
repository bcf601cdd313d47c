import type { NdArray } from '../op/define';
import type { ProjectedAttrs } from './projected';

interface Inputs {
  x?: NdArray;
  projection?: NdArray;
  dy?: NdArray;
}

function sizesOf({ x, projection }: Inputs) {
  const [m, D] = projection!.shape.slice(-2);
  const H = projection!.shape.length === 3 ? projection!.shape[0] : 1;
  return { m, D, H, rows: x!.shape.slice(0, -1).reduce((n, size) => n * size, 1) };
}

/** The features of a row of D numbers by the m rows of its head's projection. */
function featuresOf(x: Float64Array, w: Float64Array, { kind, scale }: ProjectedAttrs): Float64Array {
  const m = w.length / x.length;
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, d) => sum + value * b[d], 0);
  const p = Array.from({ length: m }, (_, j) => scale * dot(x, w.subarray(j * x.length, (j + 1) * x.length)));
  if (kind === 'performer') {
    const norm = (scale * scale * dot(x, x)) / 2;
    return Float64Array.from(p, (z) => Math.exp(z - norm) / Math.sqrt(m));
  }
  const both = [...p, ...p.map((z) => -z)];
  const most = Math.max(...both);
  const weights = both.map((z) => Math.exp(z - most));
  const sum = weights.reduce((a, b) => a + b, 0);
  return Float64Array.from(weights, (weight) => weight / sum);
}

function rowOf({ x, projection }: Inputs, row: number) {
  const { m, D, H } = sizesOf({ x, projection });
  const head = row % H;
  return {
    own: x!.data.subarray(row * D, (row + 1) * D),
    w: projection!.data.subarray(head * m * D, (head + 1) * m * D),
    head,
  };
}

export function projectedReference(inputs: Inputs, attrs: ProjectedAttrs): [Float64Array] {
  const { m, rows } = sizesOf(inputs);
  const F = attrs.kind === 'performer' ? m : 2 * m;
  const y = new Float64Array(rows * F);
  for (let row = 0; row < rows; row++) {
    const { own, w } = rowOf(inputs, row);
    y.set(featuresOf(own, w, attrs), row * F);
  }
  return [y];
}

/** dx and the gradient of the projection. */
export function projectedBackwardReference(inputs: Inputs, attrs: ProjectedAttrs): Float64Array[] {
  const { kind, scale } = attrs;
  const { m, D, rows } = sizesOf(inputs);
  const dx = new Float64Array(inputs.x!.data.length);
  const dw = new Float64Array(inputs.projection!.data.length);
  for (let row = 0; row < rows; row++) {
    const { own, w, head } = rowOf(inputs, row);
    const y = featuresOf(own, w, attrs);
    const dy = inputs.dy!.data.subarray(row * y.length, (row + 1) * y.length);
    const sum = y.reduce((all, value, f) => all + value * dy[f], 0);
    for (let j = 0; j < m; j++) {
      const slope = kind === 'performer' ? y[j] * dy[j] : y[j] * (dy[j] - sum) - y[m + j] * (dy[m + j] - sum);
      for (let d = 0; d < D; d++) {
        dx[row * D + d] += scale * slope * w[j * D + d];
        dw[(head * m + j) * D + d] += scale * slope * own[d];
      }
    }
    for (let d = 0; d < D && kind === 'performer'; d++) dx[row * D + d] -= scale * scale * own[d] * sum;
  }
  return [dx, dw];
}
