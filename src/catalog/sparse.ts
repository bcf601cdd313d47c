import { attentionMass } from './attentionMass';
import { clusteredSparse } from './clusteredSparse';
import { dynamicSparse } from './dynamicSparse';
import { flexAttention } from './flexAttention';
import { int8 } from './int8';
import type { CatalogEntry } from './types';

export const sparse: CatalogEntry[] = [
  flexAttention,
  ...dynamicSparse,
  ...clusteredSparse,
  ...int8,
  attentionMass,
];
