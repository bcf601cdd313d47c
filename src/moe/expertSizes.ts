import type { Shape } from '../op/define';
import type { activationForm } from './activation';
import type { ChosenBy } from './plan';

export interface MoeMlpAttrs {
  activation: ReturnType<typeof activationForm>;
  layout: 'outIn' | 'inOut';
  interleaved: boolean;
  alpha: number;
  limit: number;
  by: ChosenBy;
  /** Weights are stacked matrices, one expert's matrices, or rows of one neuron each. */
  form: 'stacked' | 'one' | 'neurons';
}

export interface ExpertShapes {
  readonly hidden?: Shape;
  readonly gateUp?: Shape;
  readonly down?: Shape;
  readonly indices?: Shape;
}

/** N tokens of D, E experts from D through F1 (gate and up, or F) to M, choices in rows of `columns`. */
export function expertSizes(
  { hidden, gateUp, down, indices }: ExpertShapes,
  { layout, activation, form }: MoeMlpAttrs,
) {
  const [M, F] =
    layout === 'outIn' ? down!.slice(-2) : [down!.at(-1)!, form === 'neurons' ? 1 : down!.at(-2)!];
  return {
    N: hidden!.slice(0, -1).reduce((n, size) => n * size, 1),
    D: hidden!.at(-1)!,
    M,
    F,
    F1: activation.gated ? 2 * F : F,
    E: form === 'one' ? 1 : gateUp![0],
    columns: indices!.at(-1)!,
  };
}
