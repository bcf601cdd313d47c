import { loadLanes, storeLanes } from '../core/lanes';
import { silu } from '../core/silu';
import { gateGradient, hiddenOf, SILU, upGradient } from './activation';

/** Elements of a work item. */
const BLOCK: i32 = 4096;

/** out = act(gate) * up for items [begin, end) of 4096 of `count` elements; without up out = act(gate). */
export function activated(
  kind: i32, gate: usize, up: usize, out: usize, count: i32, begin: i32, end: i32,
): void {
  const gated = up != 0, from = <usize>(begin * BLOCK) << 2;
  let n = min(count, end * BLOCK) - begin * BLOCK, g = gate + from, u = (gated ? up : gate) + from, o = out + from;
  if (kind == SILU && n >= 4) {
    // a loop that runs at least once, in which form V8 keeps the constants of silu in registers
    do {
      const h = silu(v128.load(g));
      v128.store(o, gated ? f32x4.mul(h, v128.load(u)) : h);
      g += 16; u += 16; o += 16; n -= 4;
    } while (n >= 4);
  }
  for (; n > 0; n -= 4) {
    storeLanes(o, hiddenOf(kind, gated, loadLanes(g, n), loadLanes(u, n), 0, 0), n);
    g += 16; u += 16; o += 16;
  }
}

/** The gradients of the same in gate and, if there is one, up. */
export function activatedBackward(
  kind: i32, gate: usize, up: usize, dout: usize, dgate: usize, dup: usize, count: i32, begin: i32, end: i32,
): void {
  const gated = up != 0, last = min(count, end * BLOCK);
  for (let i = begin * BLOCK; i < last; i += 4) {
    const p = <usize>i << 2, n = last - i;
    const g = loadLanes(gate + p, n), u = loadLanes((gated ? up : gate) + p, n), d = loadLanes(dout + p, n);
    storeLanes(dgate + p, gateGradient(kind, gated, g, u, d, 0, 0), n);
    if (gated) storeLanes(dup + p, upGradient(kind, g, u, d, 0, 0), n);
  }
}
