import { mamba } from './ssmMamba';
import { scans } from './ssmScans';
import type { CatalogEntry } from './types';

export const ssm: CatalogEntry[] = [...mamba, ...scans];
