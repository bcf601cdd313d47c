import type { NdArray } from '../op/define';
import type { ScanAttrs } from './scan';

interface Inputs {
  a?: NdArray;
  b?: NdArray;
  initialState?: NdArray;
  h?: NdArray;
  dh?: NdArray;
  dFinal?: NdArray;
}

/** Visits the tokens of every channel in order: where they are, where the one before is, or -1. */
export function scanOrder(
  [B, T, D]: readonly number[],
  reverse: boolean,
  visit: (at: number, before: number, edge: number, d: number) => void,
): void {
  for (let edge = 0; edge < B * D; edge++) {
    const d = edge % D;
    const first = ((edge - d) / D) * T * D + d;
    let before = -1;
    for (let i = 0; i < T; i++) {
      const at = first + (reverse ? T - 1 - i : i) * D;
      visit(at, before, edge, d);
      before = at;
    }
  }
}

/** h_t = a_t h_(t-1) + b_t, and the last state. */
export function linearScanReference(
  { a, b, initialState }: Inputs,
  { reverse }: ScanAttrs,
): [h: Float64Array, final: Float64Array] {
  const shared = a!.shape.length === 1;
  const h = new Float64Array(b!.data.length);
  const [B, , D] = b!.shape;
  const final = initialState ? Float64Array.from(initialState.data) : new Float64Array(B * D);
  scanOrder(b!.shape, reverse, (at, _, edge, d) => {
    final[edge] = a!.data[shared ? d : at] * final[edge] + b!.data[at];
    h[at] = final[edge];
  });
  return [h, final];
}

/** The scan g_t = dh_t + a_(t+1) g_(t+1) the other way: db = g, da_t = g_t h_(t-1), dInitial = a_0 g_0. */
export function linearScanBackwardReference(
  { a, b, initialState, h, dh, dFinal }: Inputs,
  { reverse }: ScanAttrs,
): Float64Array[] {
  const shared = a!.shape.length === 1;
  const [B, , D] = b!.shape;
  const da = new Float64Array(a!.data.length);
  const db = new Float64Array(b!.data.length);
  const carry = dFinal ? Float64Array.from(dFinal.data) : new Float64Array(B * D);
  const before = new Int32Array(db.length);
  scanOrder(b!.shape, reverse, (at, previous) => {
    before[at] = previous;
  });
  scanOrder(b!.shape, !reverse, (at, _, edge, d) => {
    const here = shared ? d : at;
    db[at] = dh!.data[at] + carry[edge];
    da[here] += db[at] * (before[at] < 0 ? (initialState?.data[edge] ?? 0) : h!.data[before[at]]);
    carry[edge] = a!.data[here] * db[at];
  });
  return initialState ? [da, db, carry] : [da, db];
}
