/** to [rows, count, D] = heads `which` [count] of from [rows, H, D], for rows [begin, end). */
export function takeHeads(
  from: usize, to: usize, which: usize, count: i32, H: i32, D: i32, begin: i32, end: i32,
): void {
  const bytes = <usize>D << 2;
  for (let row = begin; row < end; row++) {
    for (let i = 0; i < count; i++) {
      const head = load<i32>(which + (<usize>i << 2));
      memory.copy(to + <usize>(row * count + i) * bytes, from + <usize>(row * H + head) * bytes, bytes);
    }
  }
}

/** to [rows, H, D] = the sums of those of the heads from [rows, count, D] that come from each, for rows [begin, end). */
export function takeHeadsBackward(
  from: usize, to: usize, which: usize, count: i32, H: i32, D: i32, begin: i32, end: i32,
): void {
  const bytes = <usize>D << 2;
  for (let row = begin; row < end; row++) {
    memory.fill(to + <usize>(row * H) * bytes, 0, <usize>H * bytes);
    for (let i = 0; i < count; i++) {
      const src = from + <usize>(row * count + i) * bytes;
      const dst = to + <usize>(row * H + load<i32>(which + (<usize>i << 2))) * bytes;
      for (let at: usize = 0; at < bytes; at += 4) store<f32>(dst + at, load<f32>(dst + at) + load<f32>(src + at));
    }
  }
}
