/** Inputs of the attention kernels; `gate` [B,Tk,Hq] are forgettingAttention's log gates. */
export type AttentionInput = 'q' | 'k' | 'v' | 'mask' | 'bias' | 'alibiSlopes' | 'sink' | 'gate';

export interface AttentionAttrs {
  scale: number;
  /** `softcap * tanh(score / softcap)`; 0 for none. */
  softcap: number;
  isCausal: boolean;
  causalAlign: 'bottom-right' | 'top-left';
  /** Position of query 0 among the keys, per batch entry, in place of `causalAlign`. */
  queryOffset: readonly number[] | undefined;
  /** Keys visible left and right of the query's own position, Infinity for no limit. */
  window: readonly [left: number, right: number] | undefined;
  kvLengths: readonly number[] | undefined;
  /** Boundaries of the packed sequences, queries and keys. */
  cuSeqlens: { q: readonly number[]; k: readonly number[] } | undefined;
}
