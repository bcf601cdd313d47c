import type { Tape, Var } from '../op/tape';
import type { MesaNetAttrs, MesaNetInput } from './mesaNet';
import { place, readOut, rowOf, type Vars } from './taped';

/** The inverse of A [n, n], by elimination with pivots. */
function inverse(A: Float64Array, n: number): Float64Array {
  const rows = Array.from({ length: n }, (_, i) => [
    ...A.subarray(i * n, (i + 1) * n),
    ...Array.from({ length: n }, (_, j) => (i === j ? 1 : 0)),
  ]);
  for (let p = 0; p < n; p++) {
    let best = p;
    for (let i = p + 1; i < n; i++) if (Math.abs(rows[i][p]) > Math.abs(rows[best][p])) best = i;
    [rows[p], rows[best]] = [rows[best], rows[p]];
    const pivot = rows[p][p];
    rows[p] = rows[p].map((value) => value / pivot);
    for (let i = 0; i < n; i++) {
      const factor = rows[i][p];
      if (i !== p && factor !== 0) rows[i] = rows[i].map((value, j) => value - factor * rows[p][j]);
    }
  }
  return Float64Array.from(rows.flatMap((row) => row.slice(n)));
}

/** x = A^-1 b after some steps of conjugate gradients. */
function conjugateGradients(A: Float64Array, b: Float64Array, iterations: number): Float64Array {
  const n = b.length;
  const dot = (u: Float64Array, v: Float64Array) => u.reduce((sum, value, i) => sum + value * v[i], 0);
  const x = new Float64Array(n);
  const r = b.slice();
  const p = b.slice();
  let residual = dot(r, r);
  const enough = 1e-28 * residual;
  for (let i = 0; i < iterations && residual > enough; i++) {
    const product = p.map((_, row) => dot(A.subarray(row * n, (row + 1) * n), p));
    const step = residual / dot(p, product);
    x.forEach((_, j) => {
      x[j] += step * p[j];
      r[j] -= step * product[j];
    });
    const next = dot(r, r);
    p.forEach((_, j) => {
      p[j] = r[j] + (next / residual) * p[j];
    });
    residual = next;
  }
  return x;
}

/** x = A^-1 b with its implicit gradient, dx = A^-1 (db - dA x). */
function solve(tape: Tape, A: readonly Var[], b: readonly Var[], iterations: number): Var[] {
  const n = b.length;
  const [matrix, right] = [A, b].map((vars) => Float64Array.from(vars, (at) => tape.value(at)));
  const inverted = inverse(matrix, n);
  const exact = right.map((_, i) => right.reduce((sum, value, j) => sum + inverted[i * n + j] * value, 0));
  const x = iterations > 0 ? conjugateGradients(matrix, right, iterations) : exact;
  return Array.from(x, (value, i) => {
    const row = inverted.subarray(i * n, (i + 1) * n);
    return tape.given(
      value,
      [...b, ...A],
      [...row, ...A.map((_, at) => -row[Math.floor(at / n)] * x[at % n])],
    );
  });
}

/** Token by token, x solved anew for each. */
export function mesaNetReference(
  tape: Tape,
  inputs: { readonly [name in MesaNetInput]?: Vars },
  { offsets, iterations, finalState }: MesaNetAttrs,
): Var[][] {
  const { q, k, v, g, beta, lamb, hKk, hKv } = inputs as Record<MesaNetInput, Vars>;
  const [B, T, H, K] = k.shape;
  const V = v.shape[3];
  const N = offsets.length - 1;
  const output: Var[] = new Array(B * T * H * V);
  const [squares, values]: Var[][] = [new Array(N * H * K * K), new Array(N * H * K * V)];
  for (let n = 0; n < N; n++) {
    for (let head = 0; head < H; head++) {
      const item = n * H + head;
      let A = hKk ? rowOf(hKk, item, K * K) : tape.constants(K * K);
      let C = hKv ? rowOf(hKv, item, K * V) : tape.constants(K * V);
      for (let t = offsets[n]; t < offsets[n + 1]; t++) {
        const row = t * H + head;
        const [query, key, value] = [rowOf(q, row, K), rowOf(k, row, K), rowOf(v, row, V)];
        const decay = tape.exp(g.data[row]);
        const written = key.map((x) => tape.mul(beta.data[row], x));
        A = A.map((a, at) => tape.mulAdd(decay, a, written[Math.floor(at / K)], key[at % K]));
        C = C.map((c, at) => tape.mulAdd(decay, c, written[Math.floor(at / V)], value[at % V]));
        const system = A.map((a, at) =>
          at % (K + 1) === 0 ? tape.add(a, lamb.data[head * K + at / (K + 1)]) : a,
        );
        place(output, row, readOut(tape, solve(tape, system, query, iterations), C, V));
      }
      place(squares, item, A);
      place(values, item, C);
    }
  }
  return finalState ? [output, squares, values] : [output];
}
