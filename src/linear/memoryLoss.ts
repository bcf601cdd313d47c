import type { LinearKernels } from '../generated/linear';
import type { KernelCall } from '../op/define';

const BLOCK_COLUMNS = 64;

const MAX_CHUNK = 2 ** 16;

/** The default is 16. A last chunk with fewer tokens is filled up with zeros, which write too. */
export function checkChunkSize(op: string, chunkSize = 16): number {
  if (!Number.isInteger(chunkSize) || chunkSize < 1 || chunkSize > MAX_CHUNK)
    throw new RangeError(`${op}: chunkSize must be an integer from 1 to ${MAX_CHUNK}; got ${chunkSize}`);
  return chunkSize;
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
