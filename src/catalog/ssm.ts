import { mamba } from './ssmMamba';
import type { CatalogEntry } from './types';

export const ssm: CatalogEntry[] = [...mamba];
