import type { NdArray } from '../op/define';
import { conj, type ModeRule, mode, modeGradient, type Pair, power, times } from './modes';

type Arrays<N extends string> = { readonly [name in N]?: NdArray };
const pairAt = (re: NdArray | undefined, im: NdArray | undefined, at: number): Pair => [
  re!.data[at],
  im!.data[at],
];

/** One pair per eigenvalue, as arrays of real and imaginary parts. */
function parts(pairs: readonly Pair[]): [Float64Array, Float64Array] {
  return [Float64Array.from(pairs, ([re]) => re), Float64Array.from(pairs, ([, im]) => im)];
}

export type LruParameter = 'nuLog' | 'thetaLog' | 'gammaLog';

/** z = exp(-exp(nu) + i exp(theta)), f = exp(gamma) */
export function lruModesReference({ nuLog, thetaLog, gammaLog }: Arrays<LruParameter>): Float64Array[] {
  const z = Array.from(nuLog!.data, (nu, n) => power([-Math.exp(nu), Math.exp(thetaLog!.data[n])]));
  return [...parts(z), ...parts(Array.from(gammaLog!.data, (gamma) => [Math.exp(gamma), 0]))];
}

export function lruModesBackwardReference(
  inputs: Arrays<LruParameter | 'dzRe' | 'dzIm' | 'dfRe' | 'dfIm'>,
): Float64Array[] {
  const { nuLog, thetaLog, gammaLog, dzRe, dzIm, dfRe } = inputs;
  const dLog = Array.from(nuLog!.data, (nu, n) => {
    const z = power([-Math.exp(nu), Math.exp(thetaLog!.data[n])]);
    return times(conj(z), pairAt(dzRe, dzIm, n));
  });
  return [
    Float64Array.from(dLog, ([re], n) => -Math.exp(nuLog!.data[n]) * re),
    Float64Array.from(dLog, ([, im], n) => Math.exp(thetaLog!.data[n]) * im),
    Float64Array.from(gammaLog!.data, (gamma, n) => Math.exp(gamma) * dfRe!.data[n]),
  ];
}

export type S5Parameter = 'lambdaRe' | 'lambdaIm' | 'logStep';

/** z and f of the sampled eigenvalues. */
export function s5ModesReference(
  { lambdaRe, lambdaIm, logStep }: Arrays<S5Parameter>,
  { rule }: { rule: ModeRule },
): Float64Array[] {
  const modes = Array.from(logStep!.data, (log, n) =>
    mode(pairAt(lambdaRe, lambdaIm, n), Math.exp(log), rule),
  );
  return [...parts(modes.map(({ z }) => z)), ...parts(modes.map(({ f }) => f))];
}

export function s5ModesBackwardReference(
  inputs: Arrays<S5Parameter | 'dzRe' | 'dzIm' | 'dfRe' | 'dfIm'>,
  { rule }: { rule: ModeRule },
): Float64Array[] {
  const { lambdaRe, lambdaIm, logStep, dzRe, dzIm, dfRe, dfIm } = inputs;
  const gradients = Array.from(logStep!.data, (log, n) =>
    modeGradient(
      pairAt(lambdaRe, lambdaIm, n),
      Math.exp(log),
      rule,
      pairAt(dzRe, dzIm, n),
      pairAt(dfRe, dfIm, n),
    ),
  );
  return [
    ...parts(gradients.map(({ dA }) => dA)),
    Float64Array.from(gradients, ({ dStep }, n) => Math.exp(logStep!.data[n]) * dStep),
  ];
}

/** y = f x per column, complex. */
export function scaleReference({
  xRe,
  xIm,
  fRe,
  fIm,
}: Arrays<'xRe' | 'xIm' | 'fRe' | 'fIm'>): Float64Array[] {
  const N = fRe!.data.length;
  return parts(Array.from(xRe!.data, (_, i) => times(pairAt(fRe, fIm, i % N), pairAt(xRe, xIm, i))));
}

/** dx = conj(f) dy, df = the sum over rows of conj(x) dy. */
export function scaleBackwardReference(
  inputs: Arrays<'xRe' | 'xIm' | 'fRe' | 'fIm' | 'dyRe' | 'dyIm'>,
): Float64Array[] {
  const { xRe, xIm, fRe, fIm, dyRe, dyIm } = inputs;
  const N = fRe!.data.length;
  const [dfRe, dfIm] = [new Float64Array(N), new Float64Array(N)];
  const dx = Array.from(xRe!.data, (_, i) => {
    const dy = pairAt(dyRe, dyIm, i);
    const df = times(conj(pairAt(xRe, xIm, i)), dy);
    dfRe[i % N] += df[0];
    dfIm[i % N] += df[1];
    return times(conj(pairAt(fRe, fIm, i % N)), dy);
  });
  return [...parts(dx), dfRe, dfIm];
}

/** o = scale (a - b) + D u */
export function readOutReference(
  { a, b, u, D }: Arrays<'a' | 'b' | 'u' | 'D'>,
  { scale }: { scale: number },
): [o: Float64Array] {
  const size = D!.data.length;
  return [u!.data.map((x, i) => scale * (a!.data[i] - b!.data[i]) + D!.data[i % size] * x)];
}

export function readOutBackwardReference(
  { u, D, dy }: Arrays<'u' | 'D' | 'dy'>,
  { scale }: { scale: number },
): Float64Array[] {
  const size = D!.data.length;
  const dD = new Float64Array(size);
  u!.data.forEach((x, i) => {
    dD[i % size] += x * dy!.data[i];
  });
  const da = dy!.data.map((g) => scale * g);
  return [da, da.map((g) => -g), dy!.data.map((g, i) => g * D!.data[i % size]), dD];
}
