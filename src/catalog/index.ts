import { nn } from './nn';
import type { CatalogEntry } from './types';

/** Every op, once. What is not listed here is not tested, measured or documented, and does not ship. */
export const catalog: readonly CatalogEntry[] = [...nn];
