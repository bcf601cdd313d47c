import type { Bounds } from './types';

export const SOFTMAX_ATTENTION: Bounds = { r: 1e-6, m: 1e-5, gradient: 5e-6 };
export const LINEAR: Bounds = { r: 5e-6, m: 3e-5, gradient: 5e-5 };
export const DELTA_RULE: Bounds = { r: 1e-5, m: 1e-4, gradient: 5e-5 };
export const SCAN: Bounds = { r: 5e-6, m: 3e-5, gradient: 5e-5 };
export const MOE: Bounds = { r: 1e-6, m: 1e-5, gradient: 5e-6 };
export const NORM: Bounds = { r: 1e-6, m: 1e-5, gradient: 5e-6 };
/** Products of queries and of weights rounded to int16, half a unit of which is 1.5e-5 of the largest; no gradient. */
export const INT16_PRODUCTS: Bounds = { r: 1e-4, m: 1e-4, gradient: 0 };
/**
 * What is rounded to int8 is exact until an element lies within float32 of a half and goes to the other side, one step or
 * 1/127 of the largest; no gradient.
 */
export const INT8_ROUNDING: Bounds = { r: 1e-4, m: 1e-4, gradient: 0 };
