import type { Tensor } from '@tensorflow/tfjs-core';
import type { Shape } from '../op/define';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { defineSsmOp } from './family';
import { rmsNormGatedBackwardReference, rmsNormGatedReference } from './rmsNormGated.reference';

export interface RmsNormGatedOptions {
  /** Added to the mean square; default 1e-5. */
  eps?: number;
  /** Channels that are normalised together, a divisor of D; default D. */
  groupSize?: number;
  /** Whether the gate multiplies the normalised values rather than what is normalised; default true. */
  normBeforeGate?: boolean;
}

export interface RmsNormGatedAttrs {
  eps: number;
  group: number;
  normFirst: boolean;
}

const NAME = 'rmsNormGated';
/** Rows that share a partial sum of the weight's gradient. */
const BLOCK_ROWS = 64;
const BLOCK_COLUMNS = 64;

function rowsOf(shape: Shape) {
  const D = shape.at(-1)!;
  return { rows: shape.slice(0, -1).reduce((n, size) => n * size, 1), D };
}

const op = defineSsmOp<'x' | 'weight' | 'z', RmsNormGatedAttrs>({
  name: NAME,
  outputs: ({ x }) => [x!],
  kernel: ({ input, shape, output, attrs: { eps, group, normFirst }, launch }) => {
    const { rows, D } = rowsOf(shape.x!);
    const { x, weight, z } = input;
    launch('rmsNormGated', rows, x, weight, z, output[0], D, group, eps, normFirst ? 1 : 0);
  },
  reference: rmsNormGatedReference,
  gradient: ({ inputs, dy, attrs }) => {
    const [x, weight, z] = backward.run({ ...inputs, dy: dy[0] }, attrs);
    return { x, weight, z };
  },
});

/** The gradients of x, weight and z; empty ones for what is absent. */
const backward = defineSsmOp<'x' | 'weight' | 'z' | 'dy', RmsNormGatedAttrs>({
  name: `${NAME}Backward`,
  outputs: ({ x, weight, z }) => [x!, weight ?? [0], z ?? [0]],
  kernel: ({ input, shape, output, attrs: { eps, group, normFirst }, scratch, workspace, launch }) => {
    const { rows, D } = rowsOf(shape.x!);
    const { x, weight, z, dy } = input;
    const blocks = Math.ceil(rows / BLOCK_ROWS);
    const partial = weight ? scratch(4 * blocks * D) : 0;
    const work = workspace(8 * ((group + 3) & ~3));
    // biome-ignore format: one argument list per line of the entry point
    launch('rmsNormGatedBackward', blocks,
      x, weight, z, dy, output[0], output[2], partial, work, rows, BLOCK_ROWS, D, group, eps, normFirst ? 1 : 0);
    if (weight) launch('sumRows', Math.ceil(D / BLOCK_COLUMNS), partial, output[1], blocks, D);
  },
  reference: rmsNormGatedBackwardReference,
});

/**
 * Root mean square normalisation with a gate, as Mamba-2 ends its mixer: `y = x / rms(x) * weight * silu(z)`, or with
 * `normBeforeGate: false` `y = v / rms(v) * weight` of `v = x * silu(z)`, where `rms(v) = sqrt(mean(v^2) + eps)` over
 * groups of `groupSize` channels.
 *
 * @param x `[..., D]`
 * @param weight `[D]`, or undefined for none
 * @param z `[..., D]`, the gate, or undefined for none
 * @returns `[..., D]`
 * @throws TypeError, RangeError for a wrong dtype or shape, or a group size that does not divide D
 * @see Dao and Gu, "Transformers are SSMs", section 7.1; mamba_ssm's `RMSNormGated`
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, rmsNormGated } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 64, 32]);
 * const weight = randomNormal([32]);
 * const z = randomNormal([1, 64, 32]);
 * const y = rmsNormGated(x, weight, z, { normBeforeGate: false }); // [1, 64, 32]
 * ```
 */
export function rmsNormGated(
  x: Tensor,
  weight?: Tensor,
  z?: Tensor,
  options: RmsNormGatedOptions = {},
): Tensor {
  const axes = Array.from({ length: Math.max(1, x?.shape?.length ?? 1) - 1 }, (_, i) => `N${i}`);
  const notation = [...axes, 'D'].join(' ');
  const { D } = checkShapes(NAME, [
    ['x', x, notation],
    ['weight?', weight, 'D'],
    ['z?', z, notation],
  ]) as Record<string, number>;
  const { eps = 1e-5, groupSize = D, normBeforeGate = true } = options;
  checkFinite(NAME, 'eps', eps);
  if (!Number.isInteger(groupSize) || groupSize < 0)
    throw new RangeError(`${NAME}: groupSize must be a natural number; got ${groupSize}`);
  checkMultiple(NAME, 'D', D, 'groupSize', groupSize);
  return op.run({ x, weight, z }, { eps, group: groupSize, normFirst: normBeforeGate })[0];
}
