import { dynamicSparse } from './dynamicSparse';
import { flexAttention } from './flexAttention';
import type { CatalogEntry } from './types';

export const sparse: CatalogEntry[] = [flexAttention, ...dynamicSparse];
