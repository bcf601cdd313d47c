import type { Tape, Var } from '../op/tape';
import type { MLstmAttrs, MLstmInput } from './mLstm';
import { place, readOut, rowOf, type Vars } from './taped';

/** Equations 19 to 27 of xLSTM, with the stabilised gates of its appendix. */
export function mLstmReference(
  tape: Tape,
  x: { readonly [name in MLstmInput]?: Vars },
  { offsets, scale, finalState }: MLstmAttrs,
): Var[][] {
  const [, T, H, K] = x.k!.shape;
  const V = x.v!.shape[3];
  const N = offsets.length - 1;
  const h: Var[] = new Array(x.q!.shape[0] * T * H * V);
  const [cells, norms, maxima] = [new Array(N * H * K * V), new Array(N * H * K), new Array(N * H)];
  for (let n = 0; n < N; n++) {
    for (let head = 0; head < H; head++) {
      const item = n * H + head;
      let C = x.c ? rowOf(x.c, item, K * V) : tape.constants(K * V);
      let norm = x.n ? rowOf(x.n, item, K) : tape.constants(K);
      let m = x.m ? x.m.data[item] : tape.constant(0);
      for (let t = offsets[n]; t < offsets[n + 1]; t++) {
        const row = t * H + head;
        const [q, k, v] = [rowOf(x.q!, row, K), rowOf(x.k!, row, K), rowOf(x.v!, row, V)];
        const kept = tape.add(tape.logSigmoid(x.f!.data[row]), m);
        m = tape.max(kept, x.i!.data[row]);
        const forget = tape.exp(tape.sub(kept, m));
        const input = tape.exp(tape.sub(x.i!.data[row], m));
        C = C.map((c, at) => tape.mulAdd(forget, c, tape.mul(input, k[Math.floor(at / V)]), v[at % V]));
        norm = norm.map((value, at) => tape.mulAdd(forget, value, input, k[at]));
        const query = q.map((value) => tape.affine(value, scale));
        const size = tape.max(tape.abs(tape.dot(norm, query)), tape.exp(tape.affine(m, -1)));
        place(
          h,
          row,
          readOut(tape, query, C, V).map((value) => tape.div(value, size)),
        );
      }
      place(cells, item, C);
      place(norms, item, norm);
      maxima[item] = m;
    }
  }
  return finalState ? [h, cells, norms, maxima] : [h];
}
