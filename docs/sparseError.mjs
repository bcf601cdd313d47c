// Draws docs/sparseError.svg: the error of each training-free method against dense attention by how much it reads, on two
// synthetic inputs. Run it after a build: npm run build && node docs/sparseError.mjs

import { writeFileSync } from 'node:fs';
import { slice, tensor, tidy } from '@tensorflow/tfjs-core';
import * as linnet from '../dist/index.js';

const [T, H, D] = [1024, 2, 32];
const DECODED = 8;
const SHARES = [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1];

function uniform(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
}

/** Queries, keys and values: `needle` has a few keys that all queries look for, `heavyTailed` keys of very unequal norm. */
function inputs(kind) {
  const random = uniform(kind === 'needle' ? 1 : 2);
  const normal = () => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
  const draw = () => Float32Array.from({ length: T * H * D }, normal);
  const [q, k, v] = [draw(), draw(), draw()];
  if (kind === 'needle') {
    for (let i = 0; i < T * H; i++) for (let d = 0; d < 4; d++) q[i * D + d] += 2;
    for (const t of [37, 301, 555, 812]) {
      for (let i = t * H; i < (t + 1) * H; i++) for (let d = 0; d < 4; d++) k[i * D + d] += 5;
    }
  } else {
    for (let i = 0; i < T * H; i++) {
      const norm = Math.min(6, random() ** -0.5 / 1.5);
      for (let d = 0; d < D; d++) k[i * D + d] *= norm;
    }
  }
  return [q, k, v].map((values) => tensor(values, [1, T, H, D]));
}

function error(actual, expected) {
  const [a, e] = [actual.dataSync(), expected.dataSync()];
  let [squares, whole] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    squares += (a[i] - e[i]) ** 2;
    whole += e[i] ** 2;
  }
  return Math.sqrt(squares / whole);
}

const part = (x, from, size) => slice(x, [0, from, 0, 0], [1, size, H, D]);

/** Mean error of decoding the last tokens with what `prepare` does to a cache of the prompt; evicted once, before. */
function decode([q, k, v], prepare) {
  const prompt = T - DECODED;
  const cache = new linnet.KvCache({ heads: H, headDim: D, capacity: T });
  const exact = linnet.scaledDotProductAttention(q, k, v, { isCausal: true });
  cache.append(part(k, 0, prompt), part(v, 0, prompt));
  const select = prepare(cache, part(q, 0, prompt), part(k, 0, prompt));
  let sum = 0;
  for (let t = prompt; t < T; t++) {
    const [one, key] = [part(q, t, 1), part(k, t, 1)];
    cache.append(key, part(v, t, 1));
    const selection = select?.(one, key);
    sum += error(cache.attend(one, { selection }), part(exact, t, 1));
  }
  cache.dispose();
  return sum / DECODED;
}

const decoding = {
  StreamingLlm: (n) => (cache) => {
    new linnet.StreamingLlm({ sinks: 4, window: n - 4 }).evict(cache);
  },
  HeavyHitters: (n) => (cache, q) => {
    const policy = new linnet.HeavyHitters({ heavy: n / 2, recent: n / 2 });
    policy.observe(cache, q);
    policy.evict(cache);
  },
  SnapKv: (n) => (cache, q) => {
    new linnet.SnapKv({ budget: n, window: 16 }).evict(cache, q);
  },
  'PageSelector bound': (n) => paged(n, 'bound'),
  'PageSelector mean': (n) => paged(n, 'mean'),
  CascadePruning: (n) => (cache, q) => {
    const policy = new linnet.CascadePruning([n / T]);
    policy.observe(cache, q);
    return () => {
      policy.restart();
      return policy.select(0, cache);
    };
  },
};

function paged(n, by) {
  return (_cache, _q, k) => {
    const selector = new linnet.PageSelector({ pages: n / 16, pageSize: 16, by });
    selector.append(k);
    return (q, key) => {
      selector.append(key);
      return selector.select(q);
    };
  };
}

const BLOCK = 32;
const prefill = {
  aShapeMask: (share) =>
    linnet.aShapeMask({ T, sinks: 16, window: Math.max(1, share * T - 16), blockSize: BLOCK }),
  verticalSlashMask: (share, q, k) =>
    linnet.verticalSlashMask(q, k, {
      vertical: Math.max(1, Math.round(share * 40)),
      slash: Math.round(share * 20),
      blockSize: BLOCK,
    }),
  blockSparseMask: (share, q, k) =>
    linnet.blockSparseMask(q, k, { blocks: Math.max(1, Math.round((share * T) / BLOCK)), blockSize: BLOCK }),
  antidiagonalMask: (share, q, k) =>
    linnet.antidiagonalMask(q, k, { blocks: Math.max(1, Math.round((share * T) / BLOCK)), blockSize: BLOCK }),
};

/** Points (share read, error) by method. */
function measure(kind) {
  const x = inputs(kind);
  const [q, k, v] = x;
  const lines = {};
  for (const [name, prepare] of Object.entries(decoding)) {
    lines[name] = SHARES.map((share) => [share, tidy(() => decode(x, prepare(share * T)))]);
  }
  const exact = linnet.scaledDotProductAttention(q, k, v, { isCausal: true });
  const causal = linnet.masks.causal({ Tq: T, blockSize: BLOCK }).visible;
  for (const [name, mask] of Object.entries(prefill)) {
    lines[name] = SHARES.map((share) => {
      const blockMask = mask(share, q, k);
      return [
        blockMask.visible / causal,
        tidy(() => error(linnet.flexAttention(q, k, v, { blockMask }), exact)),
      ];
    }).sort((a, b) => a[0] - b[0]);
  }
  return lines;
}

const [WIDTH, HEIGHT, LEFT, TOP] = [380, 280, 50, 30];
const COLOURS = [
  '#4269d0',
  '#efb118',
  '#ff725c',
  '#6cc5b0',
  '#3ca951',
  '#ff8ab7',
  '#a463f2',
  '#97bbf5',
  '#9c6b4e',
  '#9498a0',
];
const across = (share) => LEFT + WIDTH * (1 + Math.log2(share) / 6);
const up = (e) => TOP + (HEIGHT * -Math.log10(Math.max(e, 1e-3))) / 3;

function panel(kind, lines, offset) {
  const grid = [0, 1, 2, 3].map(
    (n) =>
      `<path d="M${LEFT} ${up(10 ** -n)}h${WIDTH}" stroke="#ddd"/><text x="${LEFT - 6}" y="${up(10 ** -n) + 4}" text-anchor="end">${10 ** -n}</text>`,
  );
  const ticks = SHARES.map(
    (share) =>
      `<text x="${across(share)}" y="${TOP + HEIGHT + 18}" text-anchor="middle">1/${1 / share}</text>`,
  );
  const paths = Object.values(lines).map((points, i) => {
    const at = points.map(
      ([share, e]) =>
        `${across(Math.min(1, Math.max(share, 1 / 64))).toFixed(1)} ${up(Math.min(e, 1)).toFixed(1)}`,
    );
    return `<path d="M${at.join('L')}" fill="none" stroke="${COLOURS[i]}" stroke-width="1.5"${i > 5 ? ' stroke-dasharray="5 3"' : ''}/>`;
  });
  return `<g transform="translate(${offset})"><text x="${LEFT}" y="18" font-weight="bold">${kind}</text>${grid.join('')}${ticks.join('')}${paths.join('')}</g>`;
}

await linnet.ready();
const measured = Object.fromEntries(['needle', 'heavyTailed'].map((kind) => [kind, measure(kind)]));
for (const [kind, lines] of Object.entries(measured)) {
  console.log(kind);
  for (const [name, points] of Object.entries(lines)) {
    console.log(
      `  ${name.padEnd(20)} ${points.map(([s, e]) => `${s.toFixed(3)}: ${e.toFixed(3)}`).join('  ')}`,
    );
  }
}
const names = Object.keys(measured.needle);
const legend = names.map(
  (name, i) =>
    `<text x="${LEFT + (i % 4) * 210}" y="${TOP + HEIGHT + 45 + 18 * Math.floor(i / 4)}" fill="${COLOURS[i]}">${name}</text>`,
);
const panels = Object.entries(measured).map(([kind, lines], i) => panel(kind, lines, i * (WIDTH + 70)));
writeFileSync(
  new URL('sparseError.svg', import.meta.url),
  `<svg xmlns="http://www.w3.org/2000/svg" width="900" height="400" font-family="sans-serif" font-size="12"><title>Relative error by the share of the keys read</title><rect width="900" height="400" fill="white"/>${panels.join('')}${legend.join('')}</svg>\n`,
);
