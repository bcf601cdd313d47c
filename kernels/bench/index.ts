// What this machine can do at most, measured without touching memory and without doing anything else.

import { fma } from '../core/exp';

/** Twelve independent chains of multiply and add in registers: 96 flops a turn. The sum goes to `out`, so that none is dropped. */
export function peakFlops(out: usize, turns: i32): void {
  const x = f32x4.splat(load<f32>(out)), y = f32x4.splat(load<f32>(out, 4));
  let c0 = y, c1 = x, c2 = y, c3 = x, c4 = y, c5 = x, c6 = y, c7 = x, c8 = y, c9 = x, c10 = y, c11 = x;
  for (let i = turns; i > 0; i--) {
    c0 = fma(c0, x, y); c1 = fma(c1, x, y); c2 = fma(c2, x, y); c3 = fma(c3, x, y);
    c4 = fma(c4, x, y); c5 = fma(c5, x, y); c6 = fma(c6, x, y); c7 = fma(c7, x, y);
    c8 = fma(c8, x, y); c9 = fma(c9, x, y); c10 = fma(c10, x, y); c11 = fma(c11, x, y);
  }
  let sum = f32x4.add(f32x4.add(f32x4.add(c0, c1), f32x4.add(c2, c3)), f32x4.add(f32x4.add(c4, c5), f32x4.add(c6, c7)));
  sum = f32x4.add(sum, f32x4.add(f32x4.add(c8, c9), f32x4.add(c10, c11)));
  v128.store(out, sum);
}

/** dst = src, 64 bytes a turn. */
export function copyBytes(src: usize, dst: usize, bytes: i32): void {
  const end = src + <usize>bytes;
  for (; src < end; src += 64) {
    v128.store(dst, v128.load(src)); v128.store(dst, v128.load(src, 16), 16);
    v128.store(dst, v128.load(src, 32), 32); v128.store(dst, v128.load(src, 48), 48);
    dst += 64;
  }
}
