/** Rows [begin, end) of `to` take `bytes` from row i / repeat of `from`; both have a pitch in bytes. */
export function copyRows(
  from: usize, pitchFrom: usize, repeat: i32, to: usize, pitchTo: usize, bytes: usize, begin: i32, end: i32,
): void {
  for (let i = begin; i < end; i++) memory.copy(to + <usize>i * pitchTo, from + <usize>(i / repeat) * pitchFrom, bytes);
}
