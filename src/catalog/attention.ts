import type { CatalogEntry } from './types';

export const attention: CatalogEntry[] = [];
