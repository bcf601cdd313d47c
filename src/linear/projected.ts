import type { Tensor } from '@tensorflow/tfjs-core';
import type { Shape } from '../op/define';
import { checkFinite, checkShapes } from '../tensor/shape';
import { defineLinearOp } from './family';
import { projectedBackwardReference, projectedReference } from './projected.reference';

export interface ProjectedAttrs {
  kind: 'performer' | 'hedgehog';
  /** Multiplies x. */
  scale: number;
}

function sizesOf({ x, projection }: { x?: Shape; projection?: Shape }, { kind, scale }: ProjectedAttrs) {
  const [m, D] = projection!.slice(-2);
  const H = projection!.length === 3 ? projection![0] : 1;
  const N = H === 0 ? 0 : x!.slice(0, -1).reduce((n, size) => n * size, 1) / H;
  const F = kind === 'performer' ? m : 2 * m;
  return { N, H, D, F, args: [kind === 'performer' ? 0 : 1, N, H, D, m, scale] as const };
}

const op = defineLinearOp<'x' | 'projection', ProjectedAttrs>({
  name: 'projectedFeatures',
  outputs: (shape, attrs) => [[...shape.x!.slice(0, -1), sizesOf(shape, attrs).F]],
  kernel: ({ input, output, shape, attrs, workspace, launch }) => {
    const { N, H, D, F, args } = sizesOf(shape, attrs);
    const work = workspace(64 * (D + F));
    launch('projectedFeatures', H * Math.ceil(N / 16), input.x, input.projection, output[0], work, ...args);
  },
  reference: projectedReference,
  gradient: ({ inputs, dy, attrs }) => {
    const [x, projection] = backward.run({ ...inputs, dy: dy[0] }, attrs);
    return { x, projection };
  },
});

const backward = defineLinearOp<'x' | 'projection' | 'dy', ProjectedAttrs>({
  name: 'projectedFeaturesBackward',
  outputs: ({ x, projection }) => [x!, projection!],
  kernel: ({ input: { x, projection, dy }, output: [dx, dw], shape, attrs, workspace, launch }) => {
    const { H, D, F, args } = sizesOf(shape, attrs);
    launch('projectedFeaturesBackward', H, x, projection, dy, dx, dw, workspace(128 * (D + F)), ...args);
  },
  reference: projectedBackwardReference,
});

function run(name: string, x: Tensor, weight: [string, Tensor], attrs: ProjectedAttrs): Tensor {
  const [weightName, projection] = weight;
  const shared = projection?.shape?.length === 2;
  const own = shared ? ['D'] : ['H', 'D'];
  const leading = (x?.shape ?? []).slice(0, -own.length).map((_, axis) => `N${axis}`);
  checkShapes(name, [
    ['x', x, [...leading, ...own].join(' ')],
    [weightName, projection, shared ? 'm D' : 'H m D'],
  ]);
  return op.run({ x, projection }, attrs)[0];
}

export interface PerformerFeaturesOptions {
  /** Multiplies inner products of x; default `D ** -0.5`. */
  scale?: number;
}

/**
 * Performer's positive random features, `phi(x) = exp(W x' - |x'|^2 / 2) / sqrt(m)` with `x' = sqrt(scale) x`. Where the rows
 * of W are drawn from normal(0, 1), `phi(x).phi(y)` is `exp(scale x.y)` on average, with an error that falls as
 * `1 / sqrt(m)` and grows with the norms of x and y.
 *
 * @param x `[..., D]`, or `[..., H, D]` where the projection has heads
 * @param projection W, `[m, D]` or `[H, m, D]`; see `randomProjection`
 * @param options.scale default `D ** -0.5`
 * @returns `[..., m]`
 * @throws TypeError, RangeError for a wrong dtype, shape or scale
 * @see Choromanski et al., "Rethinking Attention with Performers", lemma 1
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { performerFeatures, randomProjection, ready } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 64, 2, 16]);
 * const projection = randomProjection(64, 16, { heads: 2, seed: 1 });
 * const features = performerFeatures(x, projection); // [1, 64, 2, 64]
 * ```
 */
export function performerFeatures(
  x: Tensor,
  projection: Tensor,
  options: PerformerFeaturesOptions = {},
): Tensor {
  const { scale = (x?.shape?.at(-1) ?? 1) ** -0.5 } = options;
  checkFinite('performerFeatures', 'scale', scale);
  if (scale < 0) throw new RangeError(`performerFeatures: scale must be at least 0; got ${scale}`);
  return run('performerFeatures', x, ['projection', projection], {
    kind: 'performer',
    scale: Math.sqrt(scale),
  });
}

/**
 * Hedgehog's learned features, `phi(x) = softmax([W x, -W x])` over all `2 m` of them. Flash-linear-attention's form has
 * `2 W` in their place.
 *
 * @param x `[..., D]`, or `[..., H, D]` where every head has its weight
 * @param weight W, `[m, D]` or `[H, m, D]`
 * @returns `[..., 2 m]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Zhang et al., "The Hedgehog & the Porcupine: Expressive Linear Attentions with Softmax Mimicry", section 4
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { hedgehogFeatures, ready } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 64, 2, 16]);
 * const weight = randomNormal([2, 16, 16]);
 * const features = hedgehogFeatures(x, weight); // [1, 64, 2, 32]
 * ```
 */
export function hedgehogFeatures(x: Tensor, weight: Tensor): Tensor {
  return run('hedgehogFeatures', x, ['weight', weight], { kind: 'hedgehog', scale: 1 });
}
