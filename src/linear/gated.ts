import type { Tensor } from '@tensorflow/tfjs-core';
import type { Op } from '../op/define';
import { checkMultiple, checkShapes } from '../tensor/shape';
import { type AdditiveAttrs, type AdditiveInput, type AdditiveOptions, additiveAttrs } from './additive';
import { type Recurrent, recurrentResult } from './recurrent';

/** An additive recurrence whose log decays g have one number per head or one per channel. */
export function runGated(
  op: Op<AdditiveInput, AdditiveAttrs>,
  { q, k, v, g }: Record<'q' | 'k' | 'v' | 'g', Tensor>,
  gate: 'B T HV' | 'B T HV K',
  options: AdditiveOptions,
): Tensor | Recurrent {
  const sizes = checkShapes(op.name, [
    ['q', q, 'B T H K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T HV V'],
    ['g', g, gate],
  ]);
  checkMultiple(op.name, 'HV', sizes.HV, 'H', sizes.H);
  const attrs = additiveAttrs(op.name, options, sizes);
  const { initialState } = options;
  checkShapes(op.name, [
    ['initialState?', initialState, `${attrs.offsets.length - 1} ${sizes.HV} ${sizes.K} ${sizes.V}`],
  ]);
  return recurrentResult(op.run({ q, k, v, g, initialState }, attrs));
}
