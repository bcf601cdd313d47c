import type { Tensor } from '@tensorflow/tfjs-core';
import { describe, it } from 'vitest';
import { LINEAR } from '../../src/catalog/bounds';
import type { Recurrent } from '../../src/linear';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, type GoldenCase, golden } from '../golden';

type Inputs = Record<string, Tensor>;

/** What every recurrence takes. */
const optionsOf = (c: GoldenCase, x: Inputs) =>
  ({
    scale: c.attrs.scale as number,
    initialState: x.initial_state,
    outputFinalState: true,
    cuSeqlens: x.cu_seqlens,
  }) as const;
const named = ({ output, finalState }: Recurrent): Inputs => ({ o: output, final_state: finalState });

/** How each golden op is called here; `in` has its tensors under their own names. */
const calls: Record<string, (ops: typeof linnet, x: Inputs, c: GoldenCase) => Inputs> = {
  simple_gla: (ops, x, c) => named(ops.simpleGla(x.q, x.k, x.v, x.g, optionsOf(c, x))),
  gla: (ops, x, c) => named(ops.gla(x.q, x.k, x.v, x.g, optionsOf(c, x))),
  linear_attn: (ops, x, c) => named(ops.linearAttention(x.q, x.k, x.v, optionsOf(c, x))),
  linear_attn_norm: (ops, x, c) => {
    const options = {
      ...optionsOf(c, x),
      featureMap: 'elu',
      normalize: true,
      initialZ: x.initial_z,
    } as const;
    const result = ops.linearAttention(x.q, x.k, x.v, options);
    return { ...named(result), final_z: result.finalZ! };
  },
  linear_attn_bidirectional: (ops, x, { attrs: { scale, eps } }) => {
    const options = { featureMap: 'elu', normalize: true, isCausal: false } as const;
    return { o: ops.linearAttention(x.q, x.k, x.v, { ...options, scale, eps }) };
  },
  retention: (ops, x, c) => named(ops.retention(x.q, x.k, x.v, optionsOf(c, x))),
  lightning_attn: (ops, x, c) => {
    const { layerIdx, numLayers } = c.attrs;
    return named(ops.lightningAttention(x.q, x.k, x.v, { ...optionsOf(c, x), layerIdx, numLayers }));
  },
  hgrn: (ops, x, c) => named(ops.hgrn(x.x, x.g, optionsOf(c, x))),
  gsa: (ops, x, c) => {
    const initialState = x.initial_hk ? ([x.initial_hk, x.initial_hv] as const) : undefined;
    const { output, finalState } = ops.gsa(x.q, x.k, x.v, x.s, x.g, { ...optionsOf(c, x), initialState });
    return { o: output, final_hk: finalState[0], final_hv: finalState[1] };
  },
  abc: (ops, x, { attrs: { scale } }) => ({ o: ops.abc(x.q, x.k, x.v, x.s, { scale }) }),
  based: (ops, x, { attrs }) => ({ o: ops.based(x.q, x.k, x.v, attrs) }),
  rebased: (ops, x, { attrs }) => ({ o: ops.rebased(x.q, x.k, x.v, attrs) }),
  rwkv4: (ops, x, c) => named(ops.rwkv4(x.w, x.u, x.k, x.v, optionsOf(c, x))),
  rwkv6: (ops, x, c) => named(ops.rwkv6(x.r, x.k, x.v, x.w, x.u, optionsOf(c, x))),
};

const cases = ['linear', 'rwkv', 'linear_ext']
  .flatMap((family) => golden(family))
  .filter(({ op }) => op in calls);

for (const [library, ops, bounds] of [
  ['kernel', linnet, LINEAR],
  ['reference', reference, { r: 3e-7, m: 3e-7, gradient: 3e-7 }],
] as const) {
  describe(`golden vectors, ${library}`, () => {
    it.each(cases.map((c) => [`${c.op} ${c.case}`, c] as const))('%s', (_, c) => {
      expectGolden(c, (inputs) => calls[c.op](ops, inputs, c), bounds);
    });
  });
}
