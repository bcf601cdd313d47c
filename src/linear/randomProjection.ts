import { type Tensor, tensor } from '@tensorflow/tfjs-core';
import { normal, uniform } from '../random';

export interface RandomProjectionOptions {
  /** A projection for each of so many heads; default one, without an axis of heads. */
  heads?: number;
  /** Default 0. */
  seed?: number;
}

/**
 * A projection for `performerFeatures`: every row is drawn from normal(0, 1), and rows are orthogonal in groups of D, which
 * makes the error smaller than that of independent rows.
 *
 * @param m rows, the number of features
 * @param D size of x
 * @param options.heads default none
 * @param options.seed default 0; the same seed gives the same projection
 * @returns `[m, D]`, or `[heads, m, D]`
 * @throws RangeError unless m, D and heads are whole numbers of at least 1
 * @see Choromanski et al., "Rethinking Attention with Performers", section 2.4
 */
export function randomProjection(m: number, D: number, options: RandomProjectionOptions = {}): Tensor {
  const { heads, seed = 0 } = options;
  for (const [name, size] of Object.entries({ m, D, heads: heads ?? 1 }))
    if (!Number.isInteger(size) || size < 1)
      throw new RangeError(`randomProjection: ${name} must be a whole number of at least 1; got ${size}`);
  const next = normal(uniform(seed));
  const draw = () => Float64Array.from({ length: D }, next);
  const values = new Float32Array((heads ?? 1) * m * D);
  for (let head = 0; head < (heads ?? 1); head++) {
    let group: Float64Array[] = [];
    for (let row = 0; row < m; row++) {
      if (row % D === 0) group = [];
      const direction = orthogonalTo(group, draw);
      group.push(direction);
      const length = Math.hypot(...draw());
      values.set(
        direction.map((x) => length * x),
        (head * m + row) * D,
      );
    }
  }
  return tensor(values, heads === undefined ? [m, D] : [heads, m, D]);
}

/** A random direction of length 1 that is orthogonal to those of the group. */
function orthogonalTo(group: readonly Float64Array[], draw: () => Float64Array): Float64Array {
  const x = draw();
  // once more, since what the first pass leaves of a vector close to the group's span is rounding
  for (let pass = 0; pass < 2; pass++) {
    for (const other of group) {
      const along = x.reduce((sum, value, d) => sum + value * other[d], 0);
      for (let d = 0; d < x.length; d++) x[d] -= along * other[d];
    }
    const length = Math.hypot(...x);
    for (let d = 0; d < x.length; d++) x[d] /= length;
  }
  return x;
}
