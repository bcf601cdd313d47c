import type { NdArray } from '../op/define';
import { scanOrder } from './linearScan.reference';
import type { ScanAttrs } from './scan';

interface Inputs {
  aRe?: NdArray;
  aIm?: NdArray;
  bRe?: NdArray;
  bIm?: NdArray;
  initialRe?: NdArray;
  initialIm?: NdArray;
  hRe?: NdArray;
  hIm?: NdArray;
  dhRe?: NdArray;
  dhIm?: NdArray;
  dFinalRe?: NdArray;
  dFinalIm?: NdArray;
}

const copyOf = (given: NdArray | undefined, size: number) =>
  given ? Float64Array.from(given.data) : new Float64Array(size);

/** h_t = a_t h_(t-1) + b_t, and the last state, real and imaginary parts. */
export function complexScanReference(
  { aRe, aIm, bRe, bIm, initialRe, initialIm }: Inputs,
  { reverse }: ScanAttrs,
): Float64Array[] {
  const shared = aRe!.shape.length === 1;
  const [B, , D] = bRe!.shape;
  const [hRe, hIm] = [new Float64Array(bRe!.data.length), new Float64Array(bRe!.data.length)];
  const [re, im] = [copyOf(initialRe, B * D), copyOf(initialIm, B * D)];
  scanOrder(bRe!.shape, reverse, (at, _, edge, d) => {
    const [ar, ai] = [aRe!.data[shared ? d : at], aIm!.data[shared ? d : at]];
    const real = ar * re[edge] - ai * im[edge] + bRe!.data[at];
    im[edge] = ar * im[edge] + ai * re[edge] + bIm!.data[at];
    re[edge] = real;
    hRe[at] = re[edge];
    hIm[at] = im[edge];
  });
  return [hRe, hIm, re, im];
}

/** The scan g_t = dh_t + conj(a_(t+1)) g_(t+1): db = g, da_t = g_t conj(h_(t-1)), dInitial = conj(a_0) g_0. */
export function complexScanBackwardReference(inputs: Inputs, { reverse }: ScanAttrs): Float64Array[] {
  const { aRe, aIm, bRe, initialRe, initialIm, hRe, hIm, dhRe, dhIm, dFinalRe, dFinalIm } = inputs;
  const shared = aRe!.shape.length === 1;
  const [B, , D] = bRe!.shape;
  const [daRe, daIm] = [new Float64Array(aRe!.data.length), new Float64Array(aRe!.data.length)];
  const [dbRe, dbIm] = [new Float64Array(bRe!.data.length), new Float64Array(bRe!.data.length)];
  const [re, im] = [copyOf(dFinalRe, B * D), copyOf(dFinalIm, B * D)];
  const before = new Int32Array(dbRe.length);
  scanOrder(bRe!.shape, reverse, (at, previous) => {
    before[at] = previous;
  });
  scanOrder(bRe!.shape, !reverse, (at, _, edge, d) => {
    const here = shared ? d : at;
    const first = before[at] < 0;
    const hr = first ? (initialRe?.data[edge] ?? 0) : hRe!.data[before[at]];
    const hi = first ? (initialIm?.data[edge] ?? 0) : hIm!.data[before[at]];
    const [ar, ai] = [aRe!.data[here], aIm!.data[here]];
    const gr = dhRe!.data[at] + re[edge];
    const gi = dhIm!.data[at] + im[edge];
    dbRe[at] = gr;
    dbIm[at] = gi;
    daRe[here] += gr * hr + gi * hi;
    daIm[here] += gi * hr - gr * hi;
    re[edge] = ar * gr + ai * gi;
    im[edge] = ar * gi - ai * gr;
  });
  return [daRe, daIm, dbRe, dbIm, ...(initialRe ? [re, im] : [])];
}
