import { grad, memory, ones, tensor1d, tidy, zeros } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import {
  deepseekSparseAttention,
  deltaRule,
  fftConv,
  flexAttention,
  gsa,
  hashRouting,
  int8Attention,
  linearAttention,
  memorizingAttention,
  mobaAttention,
  nativeSparseAttention,
  nsaTopK,
  performerFeatures,
  quantizeInt8,
  rope,
  routingWeights,
  sageAttention,
  scaledDotProductAttention,
  scoreMods,
  simpleGla,
  sinkhornRouting,
  titansLinear,
  tttLinear,
} from '../../src/index';

const HUGE = 2 ** 32;
const x = ones([1, 9, 2, 4]);
const gate = ones([1, 9, 2]);
const row = ones([2, 4]);
const step = ones([1, 9, 2, 1]);

it.each<[name: string, call: (most: number) => unknown, enough: number]>([
  [
    'nativeSparseAttention',
    (n) => nativeSparseAttention(x, x, x, gate, gate, gate, { blockSize: 2, blockCounts: n }),
    5,
  ],
  ['mobaAttention', (n) => mobaAttention(x, x, x, { chunkSize: 2, topk: n }), 5],
  ['memorizingAttention', (n) => memorizingAttention(x, x, x, x, x, gate, gate, { topk: n }), 9],
  ['sageAttention', (n) => sageAttention(x, x, x, { blockSize: n }), 9],
])('%s takes more than there is as all there is', (_, call, enough) => {
  tidy(() => {
    const values = (n: number) => (call(n) as typeof x).dataSync();
    expect(values(HUGE)).toEqual(values(enough));
  });
});

const ids = tensor1d([1], 'int32');
const keys = ones([1, 9, 4]);
const logits = ones([1, 3]);
const experts = zeros([1, 3], 'int32');
const rows = quantizeInt8(x);
const disposed = tensor1d([1, 1]);
disposed.dispose();

it.each<[call: () => unknown, message: string]>([
  [
    () => nsaTopK(x, x, { blockSize: 2, blockCounts: HUGE }),
    'nsaTopK: blockCounts = 4294967296 makes more choices than an array holds; at most 5 blocks are of use',
  ],
  [
    () => deepseekSparseAttention(x, x, x, x, keys, gate, { topk: HUGE }),
    'deepseekSparseAttention: topk = 4294967296 makes more choices than an array holds; at most T = 9 are of use',
  ],
  [
    () => hashRouting(ids, { numExperts: 2 ** 31 - 1, topK: 2 ** 30 }),
    'hashRouting: topK is 1073741824 for 1 tokens; expected at most 67108864 choices in all',
  ],
  [
    () => tttLinear(x, x, x, row, row, step, { chunkSize: HUGE }),
    'tttLinear: chunkSize must be an integer from 1 to 65536; got 4294967296',
  ],
  [
    () => titansLinear(x, x, x, row, row, step, step, step, { chunkSize: HUGE }),
    'titansLinear: chunkSize must be an integer from 1 to 65536; got 4294967296',
  ],
  [
    () => hashRouting(ids, { numExperts: HUGE }),
    'hashRouting: numExperts is 4294967296; expected less than 2 ** 31',
  ],
  [
    () => nativeSparseAttention(x, x, x, gate, gate, gate, { blockCounts: -1 }),
    'nativeSparseAttention: blockCounts must be a positive integer; got -1',
  ],
  [
    () => mobaAttention(x, x, x, { cuSeqlens: null as never }),
    'mobaAttention: cuSeqlens must be an int32 tensor or an array of integers; got null',
  ],
  [
    () => simpleGla(x, x, x, gate, { cuSeqlens: null as never }),
    'simpleGla: cuSeqlens must be an int32 tensor [N + 1] or an array; got null',
  ],
  [
    () => scaledDotProductAttention(x, x, x, { window: {} as never }),
    'scaledDotProductAttention: window is [object Object]; expected sizes of at least 0',
  ],
  [
    () => scaledDotProductAttention(x, x, x, { cuSeqlens: null as never }),
    'scaledDotProductAttention: cuSeqlens must be an int32 tensor or an array of integers; got null',
  ],
  [
    () => int8Attention(x, rows, rows, { valueDim: 1.5 }),
    'int8Attention: valueDim must be an integer; got 1.5',
  ],
  ...[0, -1, 1.5, Number.NaN, 2 ** 31].map((n): [() => unknown, string] => [
    () => sinkhornRouting(logits, { iterations: n }),
    `sinkhornRouting: iterations is ${n}; expected 1 to 10000`,
  ]),
  ...[-1, Number.NaN, Infinity].map((n): [() => unknown, string] => [
    () => sinkhornRouting(logits, { tolerance: n }),
    `sinkhornRouting: tolerance is ${n}; expected a finite number of at least 0`,
  ]),
  [
    () => performerFeatures(keys, row, { scale: disposed as never }),
    'performerFeatures: scale must be a finite number; got object',
  ],
  [
    () => linearAttention(x, x, { ...x } as never),
    'linearAttention: v must be a tensor [B, T, HV, V]; got object',
  ],
  [() => rope(x, { theta: -1 }), 'rope: theta is -1; expected a positive number'],
  [() => routingWeights(logits, experts, { scoring: disposed as never }), 'routingWeights: scoring is'],
  [
    () => flexAttention(x, x, x, { scoreMod: [scoreMods.alibi([1, 1]), scoreMods.causalDecay(disposed)] }),
    'flexAttention: scoreMod causalDecay: logDecay is disposed',
  ],
])('%#: refuses by name and leaves nothing behind', (call, message) => {
  const before = memory().numTensors;
  expect(call).toThrow(message);
  expect(memory().numTensors).toBe(before);
});

it.each([1, 5, 8])('a convolution with a kernel of no lags is zero (T = %i)', (T) => {
  tidy(() => {
    const y = fftConv(ones([1, T, 3]), zeros([3, 0]), { D: ones([3]) });
    expect(Array.from(y.dataSync(), Math.round)).toEqual(Array(3 * T).fill(1));
    expect(
      fftConv(ones([1, T, 3]), zeros([3, 0]))
        .dataSync()
        .every((value) => value === 0),
    ).toBe(true);
  });
});

it('an indexer without heads chooses the first tokens', () => {
  tidy(() => {
    const { output, indices } = deepseekSparseAttention(x, x, x, ones([1, 9, 0, 4]), keys, ones([1, 9, 0]), {
      topk: 2,
      returnIndices: true,
    });
    expect(Array.from(indices.dataSync())).toEqual([0, -1, ...Array(8).fill([0, 1]).flat()]);
    expect(output.dataSync().every((value) => value === 1)).toBe(true);
  });
});

it('values of no channels have a gradient', () => {
  tidy(() => {
    const beta = ones([1, 9, 2]);
    expect(grad((v) => deltaRule(x, x, v, beta))(zeros([1, 9, 2, 0])).shape).toEqual([1, 9, 2, 0]);
  });
});

it('only true asks for final states', () => {
  tidy(() => {
    expect(linearAttention(x, x, x, { normalize: true, outputFinalState: [] as never })).toHaveProperty(
      'shape',
    );
    expect(gsa(x, x, x, x, x, { outputFinalState: 'yes' as never })).toHaveProperty('shape', [1, 9, 2, 4]);
  });
});
