import { attention } from './attention';
import { linear } from './linear';
import { moe } from './moe';
import { nn } from './nn';
import { sparse } from './sparse';
import { ssm } from './ssm';
import type { CatalogEntry } from './types';

/** Every op, once. What is not listed here is not tested, measured or documented, and does not ship. */
export const catalog: readonly CatalogEntry[] = [...attention, ...sparse, ...linear, ...ssm, ...moe, ...nn];
