import type { BlockTable } from './blockTable';

/** `before` and `after` `[Hq, Tq + Tkv - 1]` are terms of the scores on either side of the softcap, by query - key + Tkv - 1. */
export type FlexInput = 'q' | 'k' | 'v' | 'before' | 'after';
export type FlexBackwardInput = FlexInput | 'output' | 'lse' | 'dOutput' | 'dLse';

export interface FlexAttrs {
  scale: number;
  /** 0 for none */
  softcap: number;
  table: BlockTable;
}
