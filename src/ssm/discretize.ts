/** A linear system x' = A x + B u with one input: A `[N, N]` row by row, B `[N]`. */
export interface LinearSystem {
  A: Float64Array;
  B: Float64Array;
}

export type Discretization = 'zoh' | 'bilinear' | 'euler';
export const DISCRETIZATIONS: readonly Discretization[] = ['zoh', 'bilinear', 'euler'];

/** I + factor A */
function shifted(A: Float64Array, N: number, factor: number): Float64Array {
  return A.map((value, i) => factor * value + (i % (N + 1) === 0 ? 1 : 0));
}

function product(A: Float64Array, B: Float64Array, N: number): Float64Array {
  const C = new Float64Array(N * N);
  for (let i = 0; i < N; i++) {
    for (let k = 0; k < N; k++) {
      for (let j = 0; j < N; j++) C[i * N + j] += A[i * N + k] * B[k * N + j];
    }
  }
  return C;
}

/** e^A: the power series of A / 2^s, whose norm is at most a half, squared s times. */
function exponential(A: Float64Array, N: number): Float64Array {
  let norm = 0;
  for (let i = 0; i < N; i++) {
    norm = Math.max(
      norm,
      A.subarray(i * N, (i + 1) * N).reduce((sum, value) => sum + Math.abs(value), 0),
    );
  }
  const squarings = norm > 0.5 ? Math.ceil(Math.log2(norm)) + 1 : 0;
  const small = A.map((value) => value / 2 ** squarings);
  let result = shifted(small, N, 0);
  // Horner's rule; 0.5^16 / 16! is below the precision of float64
  for (let term = 16; term > 0; term--) result = shifted(product(small, result, N), N, 1 / term);
  for (let i = 0; i < squarings; i++) result = product(result, result, N);
  return result;
}

/** X of M X = R with R `[N, columns]`: Gaussian elimination with partial pivoting. */
function solve(M: Float64Array, R: Float64Array, N: number, columns: number): Float64Array {
  const m = Float64Array.from(M);
  const x = Float64Array.from(R);
  const swap = (rows: Float64Array, width: number, i: number, j: number) => {
    for (let c = 0; c < width; c++) {
      [rows[i * width + c], rows[j * width + c]] = [rows[j * width + c], rows[i * width + c]];
    }
  };
  for (let k = 0; k < N; k++) {
    let pivot = k;
    for (let i = k + 1; i < N; i++) {
      if (Math.abs(m[i * N + k]) > Math.abs(m[pivot * N + k])) pivot = i;
    }
    swap(m, N, k, pivot);
    swap(x, columns, k, pivot);
    for (let i = 0; i < N; i++) {
      if (i === k) continue;
      const factor = m[i * N + k] / m[k * N + k];
      for (let c = k; c < N; c++) m[i * N + c] -= factor * m[k * N + c];
      for (let c = 0; c < columns; c++) x[i * columns + c] -= factor * x[k * columns + c];
    }
  }
  return x.map((value, i) => value / m[Math.floor(i / columns) * (N + 1)]);
}

/**
 * The recurrence `x_t = A x_{t-1} + B u_t` of a system sampled every `step`: `zoh` holds the input between samples
 * (`A = e^(step A)`, `B = integral of e^(s A) B`), `bilinear` is the trapezoidal rule, `euler` the explicit one.
 *
 * @throws RangeError for another rule, a step that is not positive or sizes that do not fit
 */
export function discretize({ A, B }: LinearSystem, step: number, rule: Discretization): LinearSystem {
  const N = B.length;
  if (A.length !== N * N)
    throw new RangeError(`discretize: A has ${A.length} values; expected N * N = ${N * N} (N from B)`);
  if (!(step > 0 && Number.isFinite(step)))
    throw new RangeError(`discretize: step must be a positive number; got ${step}`);
  switch (rule) {
    case 'zoh': {
      // both at once: the exponential of [[A, B], [0, 0]] is [[A', B'], [0, 1]]
      const W = N + 1;
      const joint = new Float64Array(W * W);
      for (let i = 0; i < N; i++) {
        for (let j = 0; j < N; j++) joint[i * W + j] = step * A[i * N + j];
        joint[i * W + N] = step * B[i];
      }
      const result = exponential(joint, W);
      return {
        A: Float64Array.from(A, (_, i) => result[Math.floor(i / N) * W + (i % N)]),
        B: Float64Array.from(B, (_, i) => result[i * W + N]),
      };
    }
    case 'bilinear': {
      const left = shifted(A, N, -step / 2);
      return {
        A: solve(left, shifted(A, N, step / 2), N, N),
        B: solve(
          left,
          B.map((value) => step * value),
          N,
          1,
        ),
      };
    }
    case 'euler':
      return { A: shifted(A, N, step), B: B.map((value) => step * value) };
    default:
      throw new RangeError(`discretize: rule must be one of ${DISCRETIZATIONS.join(', ')}; got ${rule}`);
  }
}
