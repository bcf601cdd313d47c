import { memory } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generate, sampleToken } from '../../src/models';
import { uniform } from '../../src/random';
import { checkpoint, type Stored } from './checkpoint';

let stored: Stored;
let prompt: number[];
beforeAll(async () => {
  stored = await checkpoint('mistral');
  [prompt] = stored.inputIds.arraySync() as number[][];
});
afterAll(() => stored.model.dispose());

const collect = async (tokens: AsyncIterable<number>) => {
  const list: number[] = [];
  for await (const token of tokens) list.push(token);
  return list;
};

describe('generate', () => {
  it('writes the stored tokens, awaited, iterated, told, in chunks', async () => {
    const { model, greedy } = stored;
    const before = memory().numTensors;
    expect(await generate(model, prompt, { maxNewTokens: 12 })).toEqual(greedy[0]);
    expect(await collect(generate(model, prompt, { maxNewTokens: 12 }))).toEqual(greedy[0]);
    const told: number[] = [];
    const options = { maxNewTokens: 12, prefillChunk: 3, onToken: (token: number) => told.push(token) };
    await generate(model, Int32Array.from(prompt), options);
    expect(told).toEqual(greedy[0]);
    expect(memory().numTensors).toBe(before);
  });

  it('goes on from a cache', async () => {
    const { model, greedy } = stored;
    const cache = model.createCache();
    const first = await generate(model, prompt, { maxNewTokens: 5, cache });
    expect(cache.position).toBe(prompt.length + 4);
    const rest = await generate(model, [first[4]], { maxNewTokens: 7, cache });
    expect([...first, ...rest]).toEqual(greedy[0]);
    cache.dispose();
  });

  it('ends after an end token', async () => {
    const { model, greedy } = stored;
    const end = greedy[0][3];
    const expected = greedy[0].slice(0, greedy[0].indexOf(end) + 1);
    expect(await generate(model, prompt, { endTokens: [end] })).toEqual(expected);
    expect(await generate(model, prompt, { maxNewTokens: 0 })).toEqual([]);
  });

  it('is the same for the same seed, and for top 1', async () => {
    const { model, greedy } = stored;
    const drawn = (seed: number, topK?: number) =>
      generate(model, prompt, { maxNewTokens: 12, temperature: 2, seed, topK });
    expect(await drawn(1)).toEqual(await drawn(1));
    expect(await drawn(1)).not.toEqual(await drawn(2));
    expect(await drawn(1, 1)).toEqual(greedy[0]);
  });

  it('can be aborted, or left, and cleans up', async () => {
    const { model } = stored;
    const before = memory().numTensors;
    const controller = new AbortController();
    const seen: number[] = [];
    const onToken = (token: number) => {
      if (seen.push(token) === 3) controller.abort(new Error('enough'));
    };
    await expect(generate(model, prompt, { onToken, signal: controller.signal })).rejects.toThrow('enough');
    expect(seen.length).toBe(3);
    for await (const _ of generate(model, prompt)) break;
    expect(memory().numTensors).toBe(before);
  });

  it('says what is wrong', async () => {
    const { model } = stored;
    expect(() => generate(model, [])).toThrow('generate: the prompt is empty; expected at least one token');
    expect(() => generate(model, [64])).toThrow('generate: the prompt holds 64; expected tokens below 64');
    expect(() => generate(model, [1], { prefillChunk: 0 })).toThrow(
      'generate: prefillChunk is 0; expected a count of tokens',
    );
    await expect(generate(model, [1], { temperature: -1 })).rejects.toThrow(
      'generate: temperature is -1; expected a number of at least 0',
    );
    await expect(generate(model, [1], { topK: 0 })).rejects.toThrow('generate: topK is 0');
    await expect(generate(model, [1], { topP: 0 })).rejects.toThrow('generate: topP is 0');
  });
});

describe('sampleToken', () => {
  const probabilities = [0.1, 0.4, 0.05, 0.25, 0.2];
  const logits = probabilities.map(Math.log);

  /** How often each token is drawn. */
  function frequencies(options: Parameters<typeof sampleToken>[1], count = 20000): number[] {
    const random = uniform(5);
    const counts = logits.map(() => 0);
    for (let i = 0; i < count; i++) counts[sampleToken(logits, options, random)]++;
    return counts.map((n) => n / count);
  }

  const scaled = (weights: number[]) => weights.map((w) => w / weights.reduce((a, b) => a + b, 0));

  it.each([
    [{ temperature: 1 }, probabilities],
    [{ temperature: 0.5 }, scaled(probabilities.map((p) => p ** 2))],
    [{ temperature: 1, topK: 2 }, scaled([0, 0.4, 0, 0.25, 0])],
    [{ temperature: 1, topP: 0.6 }, scaled([0, 0.4, 0, 0.25, 0])],
    [{ temperature: 1, topP: 0.9 }, scaled([0.1, 0.4, 0, 0.25, 0.2])],
    [{ temperature: 1, topK: 3, topP: 0.5 }, scaled([0, 0.4, 0, 0.25, 0])],
    [{ temperature: 1, topP: 0.01 }, [0, 1, 0, 0, 0]],
  ])('draws %j as often as it should', (options, expected) => {
    const seen = frequencies(options);
    seen.forEach((frequency, i) => {
      if (expected[i] === 0) expect(frequency).toBe(0);
      else expect(Math.abs(frequency - expected[i])).toBeLessThan(0.015);
    });
  });

  it('takes the first of the best, and never one that cannot be', () => {
    expect(sampleToken([1, 3, 3, 2], {}, () => 0.5)).toBe(1);
    expect(sampleToken([Number.NaN, -1, 2], {}, () => 0.5)).toBe(2);
    const never = Number.NEGATIVE_INFINITY;
    for (const draw of [0, 0.5, 1 - 2 ** -32]) {
      expect(sampleToken([never, 0, never], { temperature: 1 }, () => draw)).toBe(1);
    }
  });
});
