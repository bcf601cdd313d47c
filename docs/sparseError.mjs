// Draws docs/sparseError.svg: the error of each training-free method against dense attention by how much it reads, on two
// synthetic inputs and on the layers of two checkpoints. Run it after a build: npm run build && node docs/sparseError.mjs

import { readFileSync, writeFileSync } from 'node:fs';
import { concat, eye, keep, matMul, reshape, slice, tensor, tidy, tile, zeros } from '@tensorflow/tfjs-core';
import * as linnet from '../dist/index.js';
import { loadModel } from '../dist/models.js';

const T = 1024;
const DECODED = 8;
const KINDS = ['needle', 'heavyTailed', 'llama', 'mistral'];
const SHARES = [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1];

function uniform(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
}

/** Queries, keys and values: `needle` has a few keys that all queries look for, `heavyTailed` keys of very unequal norm. */
function synthetic(kind) {
  const [H, D] = [2, 32];
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

/** Queries, keys and values of the first layer of a checkpoint, for random tokens. */
async function ofCheckpoint(name) {
  const file = new URL(`../test/models/checkpoints/${name}`, import.meta.url);
  const { config } = JSON.parse(readFileSync(new URL(`${file}.json`)));
  const model = await loadModel(config, new URL(`${file}.safetensors`), { unknownTensors: /^__/ });
  const weight = (part) =>
    model.parameters.find((parameter) => parameter.name === `model.${part}.weight`).value;
  const random = uniform(3);
  const ids = Int32Array.from({ length: T }, () => random() * config.vocab_size);
  const base = config.rope_parameters.rope_theta;
  return tidy(() => {
    const embedded = linnet.gatherTokens(weight('embed_tokens'), tensor(ids, [T], 'int32'));
    const x = linnet.rmsNorm(embedded, weight('layers.0.input_layernorm'), { eps: config.rms_norm_eps });
    const heads = (part) =>
      reshape(matMul(x, weight(`layers.0.self_attn.${part}_proj`), false, true), [1, T, -1, config.head_dim]);
    return [linnet.rope(heads('q'), { base }), linnet.rope(heads('k'), { base }), heads('v')];
  });
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

const part = (x, from, size) => slice(x, [0, from, 0, 0], [1, size, -1, -1]);

/**
 * Mean share read and error of decoding the last tokens with what `prepare` does to a cache of the prompt; evicted once,
 * before.
 */
function decode([q, k, v], prepare) {
  const prompt = T - DECODED;
  const [, , heads, headDim] = k.shape;
  const cache = new linnet.KvCache({ heads, headDim, capacity: T });
  const exact = linnet.scaledDotProductAttention(q, k, v, { isCausal: true });
  cache.append(part(k, 0, prompt), part(v, 0, prompt));
  const select = prepare(cache, part(q, 0, prompt), part(k, 0, prompt));
  let [read, sum] = [0, 0];
  for (let t = prompt; t < T; t++) {
    const [one, key] = [part(q, t, 1), part(k, t, 1)];
    cache.append(key, part(v, t, 1));
    const selection = select?.(one, key);
    read += selection === undefined ? cache.length / (t + 1) : shareOf(selection, t + 1);
    sum += error(cache.attend(one, { selection }), part(exact, t, 1));
  }
  cache.dispose();
  return [read / DECODED, sum / DECODED];
}

function shareOf({ pageSize, pages }, length) {
  const lists = Array.isArray(pages[0]) ? pages : [pages];
  const tokens = lists.flat().map((page) => Math.min(pageSize, length - page * pageSize));
  return tokens.reduce((sum, count) => sum + count, 0) / lists.length / length;
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
  'PageSelector parts': (n) => paged(n, 'bound', 4),
  FastGen: (n) => (cache, q) => {
    const { pages } = new linnet.FastGen({
      recovery: Math.sqrt(n / T),
      recent: n / T / 2,
      frequent: n / T / 2,
    }).select(cache, q);
    const prompt = cache.length - 1;
    return () => {
      const since = Array.from({ length: cache.length - prompt - 1 }, (_, i) => prompt + 1 + i);
      return { pageSize: 1, pages: pages.map((tokens) => [...tokens, ...since]) };
    };
  },
  CascadePruning: (n) => (cache, q) => {
    const policy = new linnet.CascadePruning([n / T]);
    policy.observe(cache, q);
    return () => {
      policy.restart();
      return policy.select(0, cache);
    };
  },
};

function paged(n, by, logicalPageSize = 16) {
  return (_cache, _q, k) => {
    const selector = new linnet.PageSelector({ pages: n / 16, pageSize: 16, logicalPageSize, by });
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
  seerMask: (share, q, k) =>
    linnet.seerMask(q, k, meanGate(q, k), {
      blocks: Math.max(1, Math.round((share * T) / BLOCK)),
      blockSize: BLOCK,
    }),
};

/** A gate that nobody has trained: the product of mean query and mean key. */
function meanGate(q, k) {
  const [Hq, D] = q.shape.slice(2);
  return tidy(() => ({
    wq: keep(tile(reshape(eye(D), [1, D, D]), [Hq, 1, 1])),
    wk: keep(tile(reshape(concat([zeros([2 * D, D]), eye(D)]), [1, 3 * D, D]), [k.shape[2], 1, 1])),
  }));
}

const ascending = (points) => points.sort((a, b) => a[0] - b[0]);

/** Points (share read, error) by method. */
function measure(x) {
  const [q, k, v] = x;
  const lines = {};
  for (const [name, prepare] of Object.entries(decoding)) {
    lines[name] = ascending(SHARES.map((share) => tidy(() => decode(x, prepare(share * T)))));
  }
  const exact = linnet.scaledDotProductAttention(q, k, v, { isCausal: true });
  const causal = linnet.masks.causal({ Tq: T, blockSize: BLOCK }).visible;
  for (const [name, mask] of Object.entries(prefill)) {
    lines[name] = ascending(
      SHARES.map((share) => {
        const blockMask = mask(share, q, k);
        return [
          blockMask.visible / causal,
          tidy(() => error(linnet.flexAttention(q, k, v, { blockMask }), exact)),
        ];
      }),
    );
  }
  return lines;
}

const [WIDTH, HEIGHT, LEFT, TOP, ROW] = [380, 280, 50, 30, 340];
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
  '#1f7a8c',
  '#7f4f24',
  '#000000',
];
const across = (share) => LEFT + WIDTH * (1 + Math.log2(share) / 6);
const up = (e) => TOP + (HEIGHT * -Math.log10(Math.max(e, 1e-3))) / 3;

function panel(kind, lines, x, y) {
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
    return `<path d="M${at.join('L')}" fill="none" stroke="${COLOURS[i]}" stroke-width="1.5"${i >= Object.keys(decoding).length ? ' stroke-dasharray="5 3"' : ''}/>`;
  });
  return `<g transform="translate(${x} ${y})"><text x="${LEFT}" y="18" font-weight="bold">${kind}</text>${grid.join('')}${ticks.join('')}${paths.join('')}</g>`;
}

await linnet.ready();
const measured = {};
for (const kind of KINDS) {
  measured[kind] = measure(
    kind === 'llama' || kind === 'mistral' ? await ofCheckpoint(kind) : synthetic(kind),
  );
}
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
    `<text x="${LEFT + (i % 4) * 210}" y="${ROW + TOP + HEIGHT + 45 + 18 * Math.floor(i / 4)}" fill="${COLOURS[i]}">${name}</text>`,
);
const panels = Object.entries(measured).map(([kind, lines], i) =>
  panel(kind, lines, (i % 2) * (WIDTH + 70), Math.floor(i / 2) * ROW),
);
writeFileSync(
  new URL('sparseError.svg', import.meta.url),
  `<svg xmlns="http://www.w3.org/2000/svg" width="900" height="765" font-family="sans-serif" font-size="12"><title>Relative error by the share of the keys read</title><rect width="900" height="765" fill="white"/>${panels.join('')}${legend.join('')}</svg>\n`,
);
