import type { LinearKernels } from '../generated/linear';
import type { KernelCall } from '../op/define';

const BLOCK_COLUMNS = 64;

/** @throws RangeError unless it is a positive integer; the default is 16. A chunk longer than T tokens is as one of T + 1. */
export function checkChunkSize(op: string, T: number, chunkSize = 16): number {
  if (!Number.isInteger(chunkSize) || chunkSize < 1)
    throw new RangeError(`${op}: chunkSize must be a positive integer; got ${chunkSize}`);
  return Math.min(chunkSize, T + 1);
}

/** to [size] = the sum of N parts of that size, in order */
export function sumOverSequences(
  { launch }: Pick<KernelCall<never, never, LinearKernels>, 'launch'>,
  parts: number,
  to: number,
  N: number,
  size: number,
): void {
  launch('sumRows', Math.ceil(size / BLOCK_COLUMNS), parts, to, N, size);
}
