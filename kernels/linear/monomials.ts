// Products of the numbers of a row, [rows, D] to [rows, F]: feature f is factor[f] times feature parent[f] times number
// variable[f], where parents come first and the parent -1 is 1. The last F of `total` features are given out.

export function monomials(
  x: usize, y: usize, parent: usize, variable: usize, factor: usize, work: usize,
  D: i32, total: i32, F: i32, begin: i32, end: i32,
): void {
  for (let row = begin; row < end; row++) {
    features(x + (<usize>(row * D) << 2), work, parent, variable, factor, total);
    memory.copy(y + (<usize>(row * F) << 2), work + (<usize>(total - F) << 2), <usize>F << 2);
  }
}

/** work [total] = the features of one row; a variable of -1 is 1. */
// @ts-ignore: decorator
@inline
function features(x: usize, work: usize, parent: usize, variable: usize, factor: usize, total: i32): void {
  for (let at: usize = 0; at < <usize>total << 2; at += 4) {
    const from = load<i32>(parent + at), own = load<i32>(variable + at);
    let value = load<f32>(factor + at);
    if (from >= 0) value *= load<f32>(work + (<usize>from << 2));
    if (own >= 0) value *= load<f32>(x + (<usize>own << 2));
    store<f32>(work + at, value);
  }
}

/** dx of the same; `work` holds 2 total numbers. */
export function monomialsBackward(
  x: usize, dy: usize, dx: usize, parent: usize, variable: usize, factor: usize, work: usize,
  D: i32, total: i32, F: i32, begin: i32, end: i32,
): void {
  const d = work + (<usize>total << 2), skipped = <usize>(total - F) << 2;
  for (let row = begin; row < end; row++) {
    const px = x + (<usize>(row * D) << 2), to = dx + (<usize>(row * D) << 2);
    features(px, work, parent, variable, factor, total);
    memory.fill(d, 0, skipped);
    memory.copy(d + skipped, dy + (<usize>(row * F) << 2), <usize>F << 2);
    memory.fill(to, 0, <usize>D << 2);
    for (let at = <usize>total << 2; at > 0;) {
      at -= 4;
      const from = load<i32>(parent + at), own = load<i32>(variable + at);
      if (own < 0) continue;
      const by = load<f32>(d + at) * load<f32>(factor + at), p = to + (<usize>own << 2);
      let product = by;
      if (from >= 0) {
        product *= load<f32>(work + (<usize>from << 2));
        const up = d + (<usize>from << 2);
        store<f32>(up, load<f32>(up) + by * load<f32>(px + (<usize>own << 2)));
      }
      store<f32>(p, load<f32>(p) + product);
    }
  }
}
