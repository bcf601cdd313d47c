import type { CatalogEntry } from './types';

export const linear: CatalogEntry[] = [];
