import type { CatalogEntry } from './types';

export const sparse: CatalogEntry[] = [];
