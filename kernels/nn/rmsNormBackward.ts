import { dot } from '../core/reduce';

/**
 * dx = rstd * (g - x * rstd^2 * mean(g x)), g = dy * (offset + weight), for rows [begin, end); and, added row by row
 * to dweight [D] when it is not 0, dy * x * rstd. dweight is shared by the rows, so it is one work item's job.
 * scratch holds one row.
 */
export function rmsNormBackward(
  x: usize, weight: usize, dy: usize, dx: usize, scratch: usize, D: i32, eps: f32, offset: f32, begin: i32, end: i32,
): void {
  const row = <usize>D << 2;
  for (let r = begin; r < end; r++) {
    const px = x + <usize>r * row, pdy = dy + <usize>r * row, pdx = dx + <usize>r * row;
    let pg = pdy;
    if (weight) {
      for (let i = 0; i < D; i++) {
        const p = <usize>i << 2;
        store<f32>(scratch + p, load<f32>(pdy + p) * (offset + load<f32>(weight + p)));
      }
      pg = scratch;
    }
    const rstd: f32 = 1 / sqrt<f32>(dot(px, px, D) / <f32>D + eps);
    const c: f32 = rstd * rstd * dot(pg, px, D) / <f32>D;
    for (let i = 0; i < D; i++) {
      const p = <usize>i << 2;
      store<f32>(pdx + p, rstd * (load<f32>(pg + p) - load<f32>(px + p) * c));
    }
  }
}

/** dweight[d] = sum over rows of dy * x * rstd, for blocks of columns [begin, end) of 4. */
export function rmsNormBackwardWeight(
  x: usize, dy: usize, dweight: usize, rows: i32, D: i32, eps: f32, begin: i32, end: i32,
): void {
  const row = <usize>D << 2;
  const first = begin << 2, last = min(end << 2, D);
  for (let i = first; i < last; i++) store<f32>(dweight + (<usize>i << 2), 0);
  for (let r = 0; r < rows; r++) {
    const px = x + <usize>r * row, pdy = dy + <usize>r * row;
    const rstd: f32 = 1 / sqrt<f32>(dot(px, px, D) / <f32>D + eps);
    for (let i = first; i < last; i++) {
      const p = <usize>i << 2;
      store<f32>(dweight + p, load<f32>(dweight + p) + load<f32>(pdy + p) * load<f32>(px + p) * rstd);
    }
  }
}
