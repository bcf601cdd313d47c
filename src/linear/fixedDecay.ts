import type { Tensor } from '@tensorflow/tfjs-core';
import type { Op } from '../op/define';
import { checkMultiple, checkShapes } from '../tensor/shape';
import { type AdditiveAttrs, type AdditiveInput, type AdditiveOptions, additiveAttrs } from './additive';
import { type Recurrent, recurrentResult } from './recurrent';

export interface FixedDecayOptions extends AdditiveOptions {
  /** Log decays `[HV]` instead of the op's own. */
  logDecay?: readonly number[];
}

/** An additive recurrence whose heads decay at constant rates; `ownDecay` gives those of HV heads. */
export function runFixedDecay(
  op: Op<AdditiveInput, AdditiveAttrs>,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: FixedDecayOptions,
  ownDecay: (HV: number) => number[],
): Tensor | Recurrent {
  const sizes = checkShapes(op.name, [
    ['q', q, 'B T H K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T HV V'],
  ]);
  const { HV, H, K, V } = sizes;
  checkMultiple(op.name, 'HV', HV, 'H', H);
  const logDecay = options.logDecay ?? ownDecay(HV);
  if (logDecay.length !== HV || !logDecay.every((g) => g <= 0)) {
    throw new RangeError(`${op.name}: logDecay is [${logDecay}]; expected HV = ${HV} numbers of at most 0`);
  }
  const attrs = { ...additiveAttrs(op.name, options, sizes), logDecay };
  const { initialState } = options;
  checkShapes(op.name, [['initialState?', initialState, `${attrs.offsets.length - 1} ${HV} ${K} ${V}`]]);
  return recurrentResult(op.run({ q, k, v, initialState }, attrs));
}
