import { tensor } from '@tensorflow/tfjs-core';
import { uniform } from '../random';
import type { Cache } from './cache';
import type { Model } from './model';
import { type SamplingOptions, sampleToken } from './sampling';
import { valuesOf } from './values';

export interface GenerateOptions extends SamplingOptions {
  /** Default 256. */
  maxNewTokens?: number;
  /** Of what is drawn; the same seed gives the same tokens. Default 0. */
  seed?: number;
  /** Called with each token as it is chosen. */
  onToken?: (token: number) => void;
  /** Ends the generation with the signal's reason as error. */
  signal?: AbortSignal;
  /** Tokens after which the text ends, themselves included in it; default those of the config. */
  endTokens?: readonly number[];
  /** Tokens of the prompt that are read at a time; default 512. */
  prefillChunk?: number;
  /**
   * What the model has seen before the prompt. It stays the caller's and afterwards has seen all but the last token;
   * default an own one.
   */
  cache?: Cache;
}

/** Tokens as they are chosen, with `for await`, or all of them, with `await`. It runs once. */
export interface Generation extends AsyncIterable<number>, PromiseLike<number[]> {}

/** Milliseconds of work after which other tasks get their turn. */
const TURN = 16;

async function* tokensOf(
  model: Model,
  prompt: readonly number[],
  options: GenerateOptions,
): AsyncGenerator<number, void> {
  const { maxNewTokens = 256, seed = 0, onToken, signal, prefillChunk = 512 } = options;
  const endTokens = options.endTokens ?? model.spec.endTokens ?? [];
  const random = uniform(seed);
  const cache = options.cache ?? model.createCache({ capacity: prompt.length + maxNewTokens });
  let turn = Date.now();
  const others = async () => {
    if (Date.now() - turn >= TURN) {
      await new Promise((resolve) => setTimeout(resolve));
      turn = Date.now();
    }
    signal?.throwIfAborted();
  };
  const scores = (ids: readonly number[]) =>
    valuesOf(() => model.forward(tensor([ids as number[]], undefined, 'int32'), { cache, last: true }));
  try {
    await others();
    let logits: ArrayLike<number> = [];
    for (let begin = 0; begin < prompt.length; begin += prefillChunk) {
      logits = scores(prompt.slice(begin, begin + prefillChunk));
      await others();
    }
    for (let count = 1; count <= maxNewTokens; count++) {
      const token = sampleToken(logits, options, random);
      onToken?.(token);
      yield token;
      if (count === maxNewTokens || endTokens.includes(token)) return;
      await others();
      logits = scores([token]);
    }
  } finally {
    if (options.cache === undefined) cache.dispose();
  }
}

/**
 * Continues a prompt token by token.
 *
 * The prompt is read in chunks, then each token is chosen from the scores of the last one. What is remembered is of the
 * kind each mixer needs: keys and values, a recurrent state, a convolution's last inputs.
 *
 * @param ids the prompt, at least one token
 * @throws RangeError for an empty prompt or an option out of range
 */
export function generate(model: Model, ids: ArrayLike<number>, options: GenerateOptions = {}): Generation {
  const prompt = Array.from(ids);
  if (prompt.length === 0) throw new RangeError('generate: the prompt is empty; expected at least one token');
  for (const name of ['maxNewTokens', 'prefillChunk'] as const) {
    const value = options[name] ?? 1;
    if (!(Number.isInteger(value) && value >= (name === 'prefillChunk' ? 1 : 0)))
      throw new RangeError(`generate: ${name} is ${value}; expected a count of tokens`);
  }
  for (const id of prompt) {
    if (!(Number.isInteger(id) && id >= 0 && id < model.spec.vocabSize)) {
      throw new RangeError(`generate: the prompt holds ${id}; expected tokens below ${model.spec.vocabSize}`);
    }
  }
  const tokens = tokensOf(model, prompt, options);
  const all = async () => {
    const list: number[] = [];
    for await (const token of tokens) list.push(token);
    return list;
  };
  return {
    [Symbol.asyncIterator]: () => tokens,
    // biome-ignore lint/suspicious/noThenProperty: a generation can be awaited
    then: (fulfilled, rejected) => all().then(fulfilled, rejected),
  };
}
