// Multi-query associative recall (Arora et al., "Zoology: Measuring and Improving Recall in Efficient Language Models"):
// pairs of a key and a value, then keys again, each to be answered by its value.
import {
  argMax,
  customGrad,
  div,
  type GradSaveFunc,
  mul,
  type Scalar,
  scalar,
  softmax,
  type Tensor,
  tensor,
} from '@tensorflow/tfjs-core';

export interface Task {
  /** How many keys there are, and as many values. */
  keys: number;
  /** Tokens of a sequence for each pair: two for the pair, one for its query, the others are noise. */
  tokensPerPair: number;
}

export interface Batch {
  /** int32 `[B, T]`; keys come before values, values before the noise. */
  ids: Tensor;
  /** int32 `[B, T]`, the value to answer, -1 where nothing is asked. */
  answers: Int32Array;
}

export const vocabularySize = ({ keys }: Task) => 2 * keys + 1;

/** The first `count` of the numbers below n, shuffled. */
function drawDistinct(count: number, n: number, random: () => number): number[] {
  const numbers = Array.from({ length: n }, (_, i) => i);
  for (let i = 0; i < count; i++) {
    const j = i + Math.floor(random() * (n - i));
    [numbers[i], numbers[j]] = [numbers[j], numbers[i]];
  }
  return numbers.slice(0, count);
}

/** Sequences of `pairs` pairs, fresh at every call; queries stand in random order at random places. */
export function drawBatch(task: Task, pairs: number, size: number, random: () => number): Batch {
  const length = task.tokensPerPair * pairs;
  const ids = new Int32Array(size * length).fill(2 * task.keys);
  const answers = new Int32Array(size * length).fill(-1);
  for (let b = 0; b < size; b++) {
    const keys = drawDistinct(pairs, task.keys, random);
    const values = keys.map(() => task.keys + Math.floor(random() * task.keys));
    const places = drawDistinct(pairs, length - 2 * pairs, random);
    keys.forEach((key, i) => {
      ids.set([key, values[i]], b * length + 2 * i);
      const at = b * length + 2 * pairs + places[i];
      ids[at] = key;
      answers[at] = values[i];
    });
  }
  return { ids: tensor(ids, [size, length], 'int32'), answers };
}

/** Mean cross entropy of the answers. */
export function lossOf(logits: Tensor, answers: Int32Array): Scalar {
  const asked = answers.filter((answer) => answer >= 0).length;
  const loss = customGrad((x, save) => {
    const probabilities = softmax(x as Tensor);
    (save as GradSaveFunc)([probabilities]);
    const p = probabilities.dataSync();
    const vocabulary = (x as Tensor).shape.at(-1)!;
    let sum = 0;
    answers.forEach((answer, i) => {
      if (answer >= 0) sum -= Math.log(Math.max(p[i * vocabulary + answer], 1e-30));
    });
    return {
      value: scalar(sum / asked),
      gradFunc: (dy: Tensor, [saved]: Tensor[]) => {
        const gradient = saved.dataSync().slice() as Float32Array;
        answers.forEach((answer, i) => {
          if (answer < 0) gradient.fill(0, i * vocabulary, (i + 1) * vocabulary);
          else gradient[i * vocabulary + answer] -= 1;
        });
        return mul(tensor(gradient, saved.shape), div(dy, asked));
      },
    };
  });
  return loss(logits) as Scalar;
}

/** Share of the answers that are right. */
export function accuracyOf(logits: Tensor, answers: Int32Array): number {
  const best = argMax(logits, -1).dataSync();
  const asked = answers.reduce((n, answer) => n + (answer >= 0 ? 1 : 0), 0);
  return answers.reduce((n, answer, i) => n + (answer >= 0 && answer === best[i] ? 1 : 0), 0) / asked;
}

/** Uniform numbers in [0, 1) from a 32-bit seed (mulberry32). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
