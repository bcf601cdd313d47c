import { keep, split, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import type { LayerSpec, MixerSpec, ModelSpec } from '../../src/models';
import { tokens } from '../../src/nn/layers';
import { ropeFrequencies } from '../../src/nn/ropeFrequencies';
import { distance, idsOf } from './harness';
import { randomModel, randomRows, testRandomModel } from './random';

const size = 16;
const rope = ropeFrequencies(4);
const norm = (name: string) => ({ type: 'rms', name, size, eps: 1e-6 }) as const;
const heads = { size, heads: 4, kvHeads: 2, headDim: 4 };
const attention = (window?: number) => ({ type: 'attention', ...heads, rope, window }) as const;

const layer = (i: number, mixer: MixerSpec, more: Partial<LayerSpec> = {}): LayerSpec => ({
  name: `layers.${i}`,
  token: { name: 'token', preNorm: norm('norm1'), mixer },
  channel: { name: 'mlp', preNorm: norm('norm2'), mixer: { type: 'feedForward', size, intermediate: 24 } },
  ...more,
});

const model = (layers: readonly LayerSpec[]): ModelSpec => ({
  vocabSize: 17,
  size,
  embedding: { name: 'embedding' },
  layers,
  norm: norm('norm'),
  head: { name: 'head' },
});

const keyValues = { name: 'kv', size, heads: 2, headDim: 4, norm: norm('norm'), rope };
const cross = { type: 'crossAttention', size, heads: 4, headDim: 4, keyValues: 'kv', rope } as const;

/** Self-decoder layers of windowed attention and gated linear attention, then layers that read one cache. */
const yoco = (crossLayers: number) =>
  model([
    layer(0, attention(3)),
    layer(1, {
      type: 'gla',
      ...{ size, heads: 2, kvHeads: 2, keyDim: 4, valueDim: 8, rank: 3, normalizer: 16 },
      output: { norm: 'g_norm', eps: 1e-6, gate: 'silu' },
    }),
    ...Array.from({ length: crossLayers }, (_, i) => layer(2 + i, cross, i === 0 ? { keyValues } : {})),
  ]);

const mamba: MixerSpec = {
  type: 'mamba',
  ...{ size, intermediate: 32, stateSize: 4, rank: 2, bias: false },
  convolution: { width: 4, bias: true },
};

/** Attention and Mamba heads side by side, their outputs normed and averaged; the middle layers have a window. */
const hymba = model(
  [undefined, 3, undefined].map((window, i) =>
    layer(i, {
      type: 'parallel',
      branches: (['attention', 'mamba'] as const).map((name) => ({
        name,
        mixer: name === 'mamba' ? mamba : attention(window),
        norm: { name: `${name}_norm`, size, eps: 1e-6 },
        outputScale: 0.5,
      })),
    }),
  ),
);

/** A window of softmax in linear attention, after it or beside it, between layers of attention. */
const mixtures = model([
  layer(0, {
    ...{ type: 'linearized', attention: attention(), featureMap: 'hedgehog', features: 6 },
    window: { size: 3, linear: 'after' },
  }),
  layer(1, attention()),
  layer(2, {
    ...{ type: 'linearized', attention: attention(), featureMap: 'hedgehog', features: 4 },
    window: { size: 3, linear: 'beside' },
    gates: { normalizer: 16 },
  }),
  layer(3, { type: 'linearized', attention: attention(), featureMap: 't2r', features: 5 }),
]);

describe('YOCO', () => {
  testRandomModel(yoco(2), { 'kv.k_proj.weight': [8, size], 'layers.3.token.q_proj.weight': [16, size] });

  it('holds the keys of one layer, however many read them', async () => {
    const bytes = await Promise.all(
      [1, 4].map(async (crossLayers) => {
        const one = await randomModel(yoco(crossLayers));
        const cache = one.createCache();
        tidy(() => one.forward(idsOf(randomRows(1, 9)), { cache }));
        const { bytes } = cache;
        cache.dispose();
        one.dispose();
        return bytes;
      }),
    );
    expect(bytes[1]).toBe(bytes[0]);
  });

  it('needs only the last token of the prompt in the layers that read them', async () => {
    const one = await randomModel(yoco(3));
    const ids = idsOf(randomRows(2, 13));
    tidy(() => {
      const logits = one.forward(ids);
      expect(distance(one.forward(ids, { last: true }), tokens(logits, 12, 1))).toBeLessThan(1e-5);
      const cache = one.createCache();
      for (const [begin, count] of [
        [0, 6],
        [6, 4],
        [10, 3],
      ]) {
        const last = one.forward(tokens(ids, begin, count), { cache, last: true });
        expect(distance(last, tokens(logits, begin + count - 1, 1))).toBeLessThan(1e-5);
      }
      cache.dispose();
    });
    one.dispose();
  });

  it('is attention where a layer reads its own', async () => {
    const own = model([
      layer(
        0,
        { ...cross, keyValues: 'layers.0.token' },
        { keyValues: { ...keyValues, name: 'layers.0.token', norm: norm('norm') } },
      ),
    ]);
    const same = model([layer(0, attention())]);
    const [a, b] = await Promise.all([own, same].map(randomModel));
    tidy(() => {
      const weights = new Map<string, Tensor>();
      for (const { recipes, value } of b.parameters) {
        const parts = split(
          value,
          recipes[0].sources.map(({ shape }) => shape[0]),
        );
        for (const [i, { name }] of recipes[0].sources.entries()) weights.set(name, parts[i]);
      }
      for (const parameter of a.parameters) {
        const [{ sources, prepare }] = parameter.recipes;
        const stored = sources.map(({ name }) =>
          name === 'layers.0.token.norm.weight' ? 'layers.0.norm1.weight' : name,
        );
        parameter.value = keep(prepare(stored.map((name) => weights.get(name)!)));
      }
    });
    const ids = idsOf(randomRows(2, 13));
    tidy(() => {
      expect(distance(a.forward(ids), b.forward(ids))).toBeLessThan(1e-6);
    });
    a.dispose();
    b.dispose();
  });
});

describe('Hymba', () => testRandomModel(hymba, { 'layers.1.token.mamba_norm.weight': [size] }));

describe('mixtures of softmax and linear attention', () =>
  testRandomModel(mixtures, { 'layers.2.token.window_factors': [4] }));
