import type { Tensor } from '@tensorflow/tfjs-core';
import type { KernelCall, Shape } from '../op/define';
import { deltaBackwardReference, deltaReference } from './delta.reference';
import { defineLinearOp } from './family';

/** The inputs of the delta rules by role: `a` is Comba's second key too. */
export type DeltaInput = 'q' | 'k' | 'v' | 'g' | 'beta' | 'a' | 'b' | 'initialState';

export interface DeltaAttrs {
  /** How the state is corrected: by its own key, by another key `a`, or by any `a` and `b`. */
  form: 'delta' | 'comba' | 'dplr';
  scale: number;
  finalState: boolean;
  /** Bounds of the sequences in the flattened [B T] axis of q. */
  offsets: readonly number[];
  /** Delta steps per token. */
  steps: number;
  betaSigmoid: boolean;
}

type Shapes = { readonly [name in DeltaInput]?: Shape };
const FORMS = ['delta', 'comba', 'dplr'];

function outputShapes({ q, v }: Shapes, { offsets, finalState }: DeltaAttrs): Shape[] {
  const [B, T, , K] = q!;
  const [, , HV, V] = v!;
  const output = [B, T, HV, V];
  return finalState ? [output, [offsets.length - 1, HV, K, V]] : [output];
}

function sizesOf({ k, v, g }: Shapes, { form, offsets, steps, betaSigmoid, scale }: DeltaAttrs) {
  const [, , H, K] = k!;
  const [, , HV, V] = v!;
  const gate = g === undefined ? 0 : g.length - 2;
  return {
    H,
    HV,
    K,
    V,
    sequences: offsets.length - 1,
    modes: [FORMS.indexOf(form), gate, betaSigmoid ? 1 : 0] as const,
    sizes: [H, HV, K, V, steps, scale] as const,
    Kp: (K + 7) & ~7,
    Vp: (V + 7) & ~7,
  };
}

function heapOffsets<I extends string>({ scratch, buffer }: KernelCall<I, DeltaAttrs, unknown>, offsets: readonly number[]) {
  const pointer = scratch(4 * offsets.length);
  new Int32Array(buffer(), pointer, offsets.length).set(offsets);
  return pointer;
}

export function defineDelta(name: string) {
  return defineLinearOp<DeltaInput, DeltaAttrs>({
    name,
    outputs: outputShapes,
    kernel: (call) => {
      const { input, shape, output, attrs, scratch, launch } = call;
      const { HV, sequences, modes, sizes, Kp, Vp } = sizesOf(shape, attrs);
      const offsets = heapOffsets(call, attrs.offsets);
      const work = scratch(512 + 4 * (Kp * 200 + Kp * Vp + Vp * 64 + 1100));
      launch(
        'deltaForward',
        sequences * HV,
        input.q,
        input.k,
        input.v,
        input.g,
        input.beta,
        input.a,
        input.b,
        input.initialState,
        output[0],
        output[1],
        offsets,
        work,
        ...modes,
        ...sizes,
      );
    },
    reference: deltaReference,
  });
}
