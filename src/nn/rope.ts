import type { Tensor } from '@tensorflow/tfjs-core';
import type { KernelCall, Op } from '../op/define';
import { type Integers, integers, isTensor } from '../tensor/integers';
import { checkFinite, checkShapes, typeOf } from '../tensor/shape';
import { defineNnOp } from './family';
import { ropeReference } from './rope.reference';
import { ropeFrequencies } from './ropeFrequencies';

export interface RopeOptions {
  /** Pair i turns by `theta ** (-2 i / rotaryDim)` per position; default 10000. */
  theta?: number;
  /** Channels that are rotated, the first ones; default all, or as many as `frequencies` has pairs for. */
  rotaryDim?: number;
  /** Position of the first token; default 0. With `positions` it is added to them. */
  offset?: number;
  /** Whether channel 2 i is paired with 2 i + 1, as GPT-J does, or i with i + rotaryDim / 2 (default), as Llama does. */
  interleaved?: boolean;
  /** Positions of the tokens, `[T]` or, as an int32 tensor, `[B, T]`; default 0, 1, 2, ... */
  positions?: Integers;
  /** `[rotaryDim / 2]`, radians per position, instead of those of `theta`: see `ropeFrequencies`. */
  frequencies?: readonly number[];
  /** Multiplies the rotated channels; default 1. */
  attentionScaling?: number;
}

export interface RopeAttrs {
  /** Per token, or per batch entry and token. */
  positions: readonly number[];
  frequencies: readonly number[];
  interleaved: boolean;
  attentionScaling: number;
  inverse: boolean;
}

const NAME = 'rope';
/** A position is 64 a + b, so T positions take T / 64 + 64 rows of cosines and sines instead of T. */
const FINE = 64;

/** The rows of a table of cosines and sines that were asked for, in the order of asking. */
class AngleTable {
  private readonly rows = new Map<number, number>();

  row(position: number): number {
    const known = this.rows.get(position);
    if (known !== undefined) return known;
    this.rows.set(position, this.rows.size);
    return this.rows.size - 1;
  }

  /** `[rows, F, 2]` on the heap, in float64: at position 1e5 a float32 angle is off by 4e-3. */
  write(
    { scratch, buffer }: Pick<KernelCall<never, never, never>, 'scratch' | 'buffer'>,
    F: readonly number[],
  ) {
    const length = this.rows.size * F.length * 2;
    const pointer = scratch(8 * length);
    const table = new Float64Array(buffer(), pointer, length);
    let at = 0;
    for (const position of this.rows.keys()) {
      for (const frequency of F) {
        table[at++] = Math.cos(position * frequency);
        table[at++] = Math.sin(position * frequency);
      }
    }
    return pointer;
  }
}

const op: Op<'x', RopeAttrs> = defineNnOp<'x', RopeAttrs>({
  name: NAME,
  outputs: ({ x }) => [x!],
  kernel: (call) => {
    const { input, shape, output, attrs, scratch, workspace, launch } = call;
    const [B, T, H, D] = shape.x!;
    const { positions, frequencies, interleaved, attentionScaling, inverse } = attrs;
    const [coarse, fine] = [new AngleTable(), new AngleTable()];
    const split = new Int32Array(2 * positions.length);
    positions.forEach((position, i) => {
      const start = Math.floor(position / FINE) * FINE;
      split[2 * i] = coarse.row(start);
      split[2 * i + 1] = fine.row(position - start);
    });
    const rows = scratch(8 * B * T);
    const tables = [coarse.write(call, frequencies), fine.write(call, frequencies)] as const;
    const angles = workspace(16 * frequencies.length);
    const heapRows = new Int32Array(call.buffer(), rows, 2 * B * T);
    for (let at = 0; at < heapRows.length; at += split.length) heapRows.set(split, at);
    const direction = inverse ? -1 : 1;
    // biome-ignore format: one argument list per line of the entry point
    launch('rope', B * T,
      input.x, output[0], rows, ...tables, angles,
      H, D, frequencies.length, interleaved ? 1 : 0, attentionScaling, direction);
  },
  reference: ropeReference,
  gradient: ({ dy, attrs }) => ({ x: () => op.run({ x: dy[0] }, { ...attrs, inverse: !attrs.inverse })[0] }),
});

function checkedPositions(B: number, T: number, { positions, offset = 0 }: RopeOptions): number[] {
  if (!Number.isInteger(offset)) throw new RangeError(`${NAME}: offset must be an integer; got ${offset}`);
  if (positions === undefined) return Array.from({ length: T }, (_, t) => offset + t);
  const perBatch = isTensor(positions) && positions.rank === 2;
  const values = integers(NAME, 'positions', positions, perBatch ? `${B} ${T}` : `${T}`);
  if (values.length !== (perBatch ? B * T : T)) {
    throw new RangeError(`${NAME}: positions has ${values.length} values; expected T = ${T}`);
  }
  return values.map((position) => offset + position);
}

function checkedFrequencies(D: number, options: RopeOptions): readonly number[] {
  const { theta, frequencies } = options;
  if (frequencies !== undefined && !(Array.isArray(frequencies) || ArrayBuffer.isView(frequencies)))
    throw new TypeError(`${NAME}: frequencies must be an array of numbers; got ${typeOf(frequencies)}`);
  const { rotaryDim = frequencies === undefined ? D : 2 * frequencies.length } = options;
  if (!Number.isInteger(rotaryDim) || rotaryDim % 2 !== 0 || rotaryDim < 0 || rotaryDim > D) {
    throw new RangeError(
      `${NAME}: rotaryDim is ${rotaryDim}; expected an even number from 0 to D = ${D} (from x)`,
    );
  }
  if (theta !== undefined && !(theta > 0 && theta < Infinity))
    throw new RangeError(`${NAME}: theta is ${theta}; expected a positive number`);
  if (frequencies === undefined) return ropeFrequencies(rotaryDim, { theta }).frequencies;
  if (frequencies.length !== rotaryDim / 2) {
    throw new RangeError(
      `${NAME}: frequencies has ${frequencies.length} values; expected rotaryDim / 2 = ${rotaryDim / 2}`,
    );
  }
  for (const frequency of frequencies) checkFinite(NAME, 'frequencies', frequency);
  return frequencies;
}

/**
 * Rotary position embedding: the pair `(x_i, x_j)` of a token at position p turns by `p f_i`,
 * `(x_i cos - x_j sin, x_j cos + x_i sin)` with `f_i = theta ** (-2 i / rotaryDim)`, so that the product of a query and
 * a key depends on their distance alone. Angles are computed in float64.
 *
 * @param x `[B, T, H, D]`, queries or keys
 * @returns `[B, T, H, D]`; channels past rotaryDim are as in x
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", equation 34
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, rope } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const turned = rope(q); // [1, 64, 2, 16]
 * ```
 */
export function rope(x: Tensor, options: RopeOptions = {}): Tensor {
  const { interleaved = false, attentionScaling = 1 } = options;
  const { B, T, D } = checkShapes(NAME, [['x', x, 'B T H D']]);
  checkFinite(NAME, 'attentionScaling', attentionScaling);
  const frequencies = checkedFrequencies(D, options);
  const positions = checkedPositions(B, T, options);
  return op.run({ x }, { positions, frequencies, interleaved, attentionScaling, inverse: false })[0];
}
