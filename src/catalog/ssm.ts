import type { CatalogEntry } from './types';

export const ssm: CatalogEntry[] = [];
