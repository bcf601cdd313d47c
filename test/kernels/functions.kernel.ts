// The elementary functions of kernels/core over arrays, compiled by their test.

import { exp, exp2 } from '../../kernels/core/exp';
import { softplus } from '../../kernels/core/log';
import { quickSilu, sigmoid, silu } from '../../kernels/core/silu';

export function expArray(x: usize, y: usize, n: i32): void {
  for (let p = x, end = x + (<usize>n << 2); p < end; p += 16, y += 16) v128.store(y, exp(v128.load(p)));
}
export function exp2Array(x: usize, y: usize, n: i32): void {
  for (let p = x, end = x + (<usize>n << 2); p < end; p += 16, y += 16) v128.store(y, exp2(v128.load(p)));
}
export function sigmoidArray(x: usize, y: usize, n: i32): void {
  for (let p = x, end = x + (<usize>n << 2); p < end; p += 16, y += 16) v128.store(y, sigmoid(v128.load(p)));
}
export function softplusArray(x: usize, y: usize, n: i32): void {
  for (let p = x, end = x + (<usize>n << 2); p < end; p += 16, y += 16) v128.store(y, softplus(v128.load(p)));
}
export function siluArray(x: usize, y: usize, n: i32): void {
  for (let p = x, end = x + (<usize>n << 2); p < end; p += 16, y += 16) v128.store(y, silu(v128.load(p)));
}
export function quickSiluArray(x: usize, y: usize, n: i32): void {
  for (let p = x, end = x + (<usize>n << 2); p < end; p += 16, y += 16) v128.store(y, quickSilu(v128.load(p)));
}
