import { readFileSync } from 'node:fs';
import { memory, tensor, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { memoryOf, remembering } from '../../bench/models/memory';
import { randomModel } from '../../bench/models/randomModel';
import { generate } from '../../src/models';
import { distanceInParts, idsOf } from './harness';

const docs = readFileSync(new URL('../../docs/models.md', import.meta.url), 'utf8');
const cellsOf = (line: string) => line.split('|').map((cell) => cell.trim());

describe('memory of a token', () => {
  it.each(Object.entries(remembering))('%s: as the docs say', (name, config) => {
    const { perToken, constant } = memoryOf(config);
    const shown = docs
      .split('\n')
      .map(cellsOf)
      .find(([, first]) => first === name);
    expect(shown?.slice(2, 4)).toEqual([`${perToken}`, `${constant}`]);
  });
});

const tiny = { vocab_size: 32, hidden_size: 32, intermediate_size: 32, num_hidden_layers: 2 };
const recurrent = {
  'Mamba-2': {
    ...tiny,
    ...{ model_type: 'mamba2', num_heads: 4, head_dim: 16, state_size: 16, n_groups: 1 },
  },
  'Gated DeltaNet': { ...tiny, model_type: 'gated_deltanet', num_heads: 2, head_dim: 16 },
  Mistral: {
    ...tiny,
    ...{ model_type: 'mistral', num_attention_heads: 2, sliding_window: 64, rms_norm_eps: 1e-6 },
  },
};

describe.each(Object.entries(recurrent))('%s up to 32768 tokens', (_, config) => {
  it('holds no more than after the first thousand, and a token makes as many tensors', async () => {
    const model = randomModel(config);
    const cache = model.createCache();
    const seen: object[] = [];
    const before = memory().numTensors;
    for (let position = 0; position < 32768; position += 1024) {
      tidy(() => {
        const ids = tensor(
          Int32Array.from({ length: 1024 }, (_, i) => (i * i + position) % 32),
          [1, 1024],
          'int32',
        );
        model.forward(ids, { cache, last: true });
      });
      const { numBytes, numTensors } = memory();
      seen.push({ bytes: cache.bytes, numBytes, numTensors });
    }
    expect(cache.position).toBe(32768);
    expect(new Set(seen.slice(1).map((one) => JSON.stringify(one))).size).toBe(1);
    const after = await generate(model, [1], { cache, maxNewTokens: 4 });
    expect(after.length).toBe(4);
    const { numBytes, numTensors } = memory();
    expect({ bytes: cache.bytes, numBytes, numTensors }).toEqual(seen.at(-1));
    cache.dispose();
    expect(memory().numTensors).toBe(before);
    model.dispose();
  });
});

describe('attention to chosen tokens', () => {
  const chosen = {
    'DeepSeek-V3.2': { ...remembering['DeepSeek-V3.2, the same and index keys of 32'], index_topk: 8 },
    NSA: { ...remembering['NSA, 2 key heads, blocks of 64'], block_size: 4, window_size: 8 },
  };

  it.each(Object.entries(chosen))('%s: is the same past the room of its cache', (_, config) => {
    const model = randomModel({ ...config, ...tiny, num_hidden_layers: 2, first_k_dense_replace: 2 });
    const ids = idsOf([Array.from({ length: 150 }, (_, i) => (i * i + 3 * i) % 16)]);
    const logits = model.forward(ids);
    for (const sizes of [
      [63, 1, 1, 1, 64, 20],
      [1, 147, 1, 1],
    ]) {
      expect(distanceInParts(model, ids, logits, sizes)).toBeLessThan(1e-4);
    }
    logits.dispose();
    ids.dispose();
    model.dispose();
  });

  it.each(Object.entries(chosen))('%s: a token makes as many tensors at any position', (_, config) => {
    const model = randomModel({ ...config, ...tiny, num_hidden_layers: 2, first_k_dense_replace: 2 });
    const cache = model.createCache({ capacity: 600 });
    const next = idsOf([[1]]);
    const made: number[] = [];
    for (const size of [97, 400]) {
      const ids = idsOf([Array.from({ length: size }, (_, i) => i % 16)]);
      model.forward(ids, { cache }).dispose();
      ids.dispose();
      const { numBytes } = memory();
      const passes = tidy(() => {
        model.forward(next, { cache });
        return memory().numBytes - numBytes;
      });
      made.push(passes);
    }
    expect(made[1]).toBe(made[0]);
    cache.dispose();
    next.dispose();
    model.dispose();
  });
});
