import { attentionMass } from './attentionMass';
import { dynamicSparse } from './dynamicSparse';
import { flexAttention } from './flexAttention';
import { int8 } from './int8';
import type { CatalogEntry } from './types';

export const sparse: CatalogEntry[] = [flexAttention, ...dynamicSparse, ...int8, attentionMass];
