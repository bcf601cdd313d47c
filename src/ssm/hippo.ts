import { type Discretization, discretize, type LinearSystem } from './discretize';

export type HippoMeasure = 'legs' | 'legt' | 'lagt' | 'fout';

export interface HippoOptions {
  /** Gives the recurrence of the sampled system instead, by this rule. */
  discretization?: Discretization;
  /** Time between samples, with `discretization`; default 1 / N. */
  step?: number;
}

/** Entries of A and B, as hippo.py of state-spaces/s4 has them. */
const MEASURES: Record<HippoMeasure, { A(i: number, j: number): number; B(i: number): number }> = {
  legs: {
    A: (i, j) => (i > j ? -Math.sqrt((2 * i + 1) * (2 * j + 1)) : i === j ? -(i + 1) : 0),
    B: (i) => Math.sqrt(2 * i + 1),
  },
  legt: {
    A: (i, j) => (-Math.sqrt((2 * i + 1) * (2 * j + 1)) / 2) * (i < j ? (-1) ** (i - j) : 1),
    B: (i) => Math.sqrt(2 * i + 1) / 2,
  },
  lagt: { A: (i, j) => (i > j ? -1 : i === j ? -0.5 : 0), B: () => 1 },
  fout: { A: (i, j) => rotation(i, j) - fourier(i) * fourier(j), B: fourier },
};

/** The input of the constant, then of the cosines 1, 2, ..., at even places; sines have none. */
function fourier(i: number): number {
  if (i === 0) return 1;
  return i % 2 === 0 ? Math.SQRT2 : 0;
}

/** Turns cosine and sine n, at places 2 n and 2 n + 1, into each other; the sine of 0 is idle. */
function rotation(i: number, j: number): number {
  const n = Math.floor(i / 2);
  return n === Math.floor(j / 2) ? Math.PI * n * (i - j) : 0;
}

/**
 * HiPPO: the linear system `x' = A x + B u` whose state holds the coefficients of the input's history in an orthogonal
 * basis: Legendre polynomials over all of it (`legs`) or over a sliding window (`legt`), Laguerre polynomials under an
 * exponential measure (`lagt`), a Fourier series over a window (`fout`). In float64, row by row.
 *
 * @param measure `legs`, `legt`, `lagt` or `fout`
 * @param N the size of the state
 * @param options.discretization `zoh`, `bilinear` or `euler`; default none
 * @param options.step time between samples; default 1 / N
 * @returns A `[N, N]`, B `[N]`
 * @throws RangeError for another measure or a size that is no positive integer
 * @see Gu et al., "HiPPO: Recurrent Memory with Optimal Polynomial Projections"; Gu et al., "How to Train Your HiPPO"
 */
export function hippo(measure: HippoMeasure, N: number, options: HippoOptions = {}): LinearSystem {
  if (!Object.hasOwn(MEASURES, measure)) {
    throw new RangeError(`hippo: measure must be one of ${Object.keys(MEASURES).join(', ')}; got ${measure}`);
  }
  if (!Number.isInteger(N) || N < 1) throw new RangeError(`hippo: N must be a positive integer; got ${N}`);
  const { A, B } = MEASURES[measure];
  const system = {
    A: Float64Array.from({ length: N * N }, (_, at) => A(Math.floor(at / N), at % N)),
    B: Float64Array.from({ length: N }, (_, i) => B(i)),
  };
  const { discretization, step = 1 / N } = options;
  return discretization === undefined ? system : discretize(system, step, discretization);
}
