import { additive } from './additive';
import { beyond } from './beyond';
import { deltaRules } from './delta';
import { tokenShift } from './tokenShift';
import type { CatalogEntry } from './types';

export const linear: CatalogEntry[] = [...additive, ...deltaRules, tokenShift, ...beyond];
