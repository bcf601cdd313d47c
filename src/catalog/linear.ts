import { deltaRules } from './delta';
import type { CatalogEntry } from './types';

export const linear: CatalogEntry[] = [...deltaRules];
