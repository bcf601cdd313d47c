import type { NdArray } from '../op/define';
import type { TokenShiftAttrs } from './tokenShift';

/** Per sequence y_t = x_(t-1) - x_t with x_(-1) = cache, and the last token; in reverse x_(t+1) and the first one. */
export function tokenShiftReference(
  { x, cache }: { x?: NdArray; cache?: NdArray },
  { offsets, reverse, outputCache }: TokenShiftAttrs,
): Float64Array[] {
  const { data, shape } = x!;
  const D = shape[2];
  const sequences = offsets.length - 1;
  const y = new Float64Array(data.length);
  const edges = new Float64Array(sequences * D);
  for (let s = 0; s < sequences; s++) {
    const length = offsets[s + 1] - offsets[s];
    for (let d = 0; d < D; d++) {
      let neighbour = cache ? cache.data[s * D + d] : 0;
      for (let i = 0; i < length; i++) {
        const at = (offsets[s] + (reverse ? length - 1 - i : i)) * D + d;
        y[at] = neighbour - data[at];
        neighbour = data[at];
      }
      edges[s * D + d] = neighbour;
    }
  }
  return outputCache ? [y, edges] : [y];
}
