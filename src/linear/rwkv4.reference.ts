import type { NdArray } from '../op/define';
import type { Rwkv4Attrs, Rwkv4Input } from './rwkv4';

type Inputs = { readonly [name in Rwkv4Input | 'dOutput' | 'dFinal']?: NdArray };
/** Numerator and denominator in units of e^p. */
type State = [a: number, b: number, p: number];

/** e^(x - top), 0 where x is -Infinity. */
const part = (x: number, top: number) => (x === Number.NEGATIVE_INFINITY ? 0 : Math.exp(x - top));

function startOf(initial: NdArray | undefined, n: number, C: number, i: number): State {
  if (initial === undefined) return [0, 0, Number.NEGATIVE_INFINITY];
  return [0, 1, 2].map((part) => initial.data[(n * 3 + part) * C + i]) as State;
}

/** a' = e^(p - e^w - p') a + e^(k - p') v, b' likewise with v = 1, p' = max(p - e^w, k). */
function advance([a, b, p]: State, w: number, key: number, value: number): State {
  const aged = p - Math.exp(w);
  const next = Math.max(aged, key);
  const [old, fresh] = [part(aged, next), Math.exp(key - next)];
  return [old * a + fresh * value, old * b + fresh, next];
}

/** o_t = (a + e^(u + k_t) v_t) / (b + e^(u + k_t)) with a and b as they were before the token. */
export function rwkv4Reference(inputs: Inputs, { offsets, finalState }: Rwkv4Attrs): Float64Array[] {
  const { w, u, k, v, initialState } = inputs;
  const C = k!.shape[2];
  const output = new Float64Array(k!.data.length);
  const final = new Float64Array((offsets.length - 1) * 3 * C);
  for (let n = 0; n + 1 < offsets.length; n++) {
    for (let i = 0; i < C; i++) {
      let state = startOf(initialState, n, C, i);
      for (let t = offsets[n]; t < offsets[n + 1]; t++) {
        const [a, b, p] = state;
        const [key, value] = [k!.data[t * C + i], v!.data[t * C + i]];
        const own = u!.data[i] + key;
        const top = Math.max(p, own);
        const [old, fresh] = [part(p, top), Math.exp(own - top)];
        output[t * C + i] = (old * a + fresh * value) / (old * b + fresh);
        state = advance(state, w!.data[i], key, value);
      }
      state.forEach((x, part) => {
        final[(n * 3 + part) * C + i] = x;
      });
    }
  }
  return finalState ? [output, final] : [output];
}

/** The chain rule through both lines of every step, from the last token to the first. */
export function rwkv4BackwardReference(inputs: Inputs, { offsets }: Rwkv4Attrs): Float64Array[] {
  const { w, u, k, v, initialState, dOutput, dFinal } = inputs;
  const C = k!.shape[2];
  const [dw, du, dk, dv] = [w, u, k, v].map((x) => new Float64Array(x!.data.length));
  const dInitial = new Float64Array((offsets.length - 1) * 3 * C);
  for (let n = 0; n + 1 < offsets.length; n++) {
    for (let i = 0; i < C; i++) {
      const states = [startOf(initialState, n, C, i)];
      for (let t = offsets[n]; t < offsets[n + 1]; t++)
        states.push(advance(states.at(-1)!, w!.data[i], k!.data[t * C + i], v!.data[t * C + i]));
      let [da, db, dp] = [0, 1, 2].map((part) => dFinal?.data[(n * 3 + part) * C + i] ?? 0);
      for (let t = offsets[n + 1] - 1; t >= offsets[n]; t--) {
        const at = t * C + i;
        const [a, b, p] = states[t - offsets[n]];
        const [key, value] = [k!.data[at], v!.data[at]];
        const aged = p - Math.exp(w!.data[i]);
        const next = Math.max(aged, key);
        const [x, y] = [part(aged, next), Math.exp(key - next)];
        const dAgedPart = x * (a * da + b * db);
        const dKeyPart = y * (value * da + db);
        const dNext = dp - dAgedPart - dKeyPart;
        const dAged = dAgedPart + (aged > key ? dNext : 0);
        dk[at] += dKeyPart + (aged > key ? 0 : dNext);
        dv[at] += y * da;
        dw[i] -= Math.exp(w!.data[i]) * dAged;

        const own = u!.data[i] + key;
        const top = Math.max(p, own);
        const [old, fresh] = [part(p, top), Math.exp(own - top)];
        const divisor = old * b + fresh;
        const out = (old * a + fresh * value) / divisor;
        const d = dOutput!.data[at] / divisor;
        dk[at] += fresh * d * (value - out);
        du[i] += fresh * d * (value - out);
        dv[at] += fresh * d;
        dp = dAged + old * d * (a - b * out);
        da = x * da + old * d;
        db = x * db - old * d * out;
      }
      [da, db, dp].forEach((d, part) => {
        dInitial[(n * 3 + part) * C + i] = d;
      });
    }
  }
  return initialState ? [dw, du, dk, dv, dInitial] : [dw, du, dk, dv];
}
