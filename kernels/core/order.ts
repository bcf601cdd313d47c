/** The key of NaN, below that of every number. */
export const NAN_KEY: i32 = i32.MIN_VALUE + 1;

/** Integers in the order of four numbers; -0 counts as 0. */
// @ts-ignore: decorator
@inline
export function orderKey(x: v128): v128 {
  const bits = f32x4.add(x, f32x4.splat(0));
  const ordered = v128.xor(bits, v128.and(i32x4.shr_s(bits, 31), i32x4.splat(0x7fffffff)));
  return v128.bitselect(ordered, i32x4.splat(NAN_KEY), f32x4.eq(x, x));
}
