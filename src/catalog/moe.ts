import type { CatalogEntry } from './types';

export const moe: CatalogEntry[] = [];
