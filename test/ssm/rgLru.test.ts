import { concat, fill, ones, slice, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SCAN } from '../../src/catalog/bounds';
import { deviation, drawInputs, outputsOf } from '../../src/catalog/numerics';
import type { Case, Tensors } from '../../src/catalog/types';
import * as linnet from '../../src/ops';
import { rgLru } from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, golden } from '../golden';
import { expectParity } from '../parity';

const cases = golden('ssm').filter(({ op }) => op === 'rg_lru');

describe.each([
  ['kernel', linnet],
  ['reference', reference as typeof linnet],
])('%s', (_, ops) => {
  it.each(cases.map((c) => [c.case, c] as const))('equals the golden vector %s', (_name, c) => {
    expectGolden(
      c,
      (t) => {
        const { output, finalState } = ops.rgLru(
          t.x,
          t.recurrent_param,
          t.input_gate_weight,
          t.input_gate_bias,
          t.recurrent_gate_weight,
          t.recurrent_gate_bias,
          { reset: t.reset, outputFinalState: true, ...c.attrs },
        );
        return { o: output, last_state: finalState };
      },
      SCAN,
    );
  });
});

function parameters(H: number, d: number) {
  return {
    p: { shape: [H * d], shift: -2 },
    wi: { shape: [H, d, d], scale: d ** -0.5 },
    bi: { shape: [H, d] },
    wr: { shape: [H, d, d], scale: d ** -0.5 },
    br: { shape: [H, d] },
  };
}
const all = ({ p, wi, bi, wr, br }: Tensors) => [p, wi, bi, wr, br] as const;

it('equals the reference for any shape, gradients too, and writes inside its outputs', () => {
  const sizes = fc.record({ B: fc.nat(2), T: fc.nat(40), H: fc.nat(3), d: fc.integer({ min: 1, max: 21 }) });
  fc.assert(
    fc.property(sizes, fc.boolean(), fc.boolean(), ({ B, T, H, d }, resets, state) => {
      const c: Case = {
        id: '',
        inputs: {
          x: { shape: [B, T, H * d] },
          ...parameters(H, d),
          ...(resets ? { reset: { shape: [B, T], dtype: 'int32' as const } } : {}),
          ...(state ? { initialState: { shape: [B, H * d] } } : {}),
        },
        call: (ops, t) => {
          const { initialState, reset } = t;
          const result = ops.rgLru(t.x, ...all(t), { reset, initialState, outputFinalState: true });
          return [result.output, result.finalState];
        },
      };
      expectParity(c);
    }),
    { numRuns: 40 },
  );
});

it('split anywhere and carried is the whole', () => {
  tidy(() => {
    const t = drawInputs({ x: { shape: [2, 70, 24] }, ...parameters(2, 12) });
    const whole = rgLru(t.x, ...all(t)).dataSync();
    let initialState: Tensor = zeros([2, 24]);
    const parts = [0, 1, 34, 35, 70].slice(1).map((end, i) => {
      const begin = [0, 1, 34, 35][i];
      const part = rgLru(slice(t.x, [0, begin, 0], [2, end - begin, 24]), ...all(t), {
        initialState,
        outputFinalState: true,
      });
      initialState = part.finalState;
      return part.output;
    });
    expect(deviation(concat(parts, 1).dataSync(), whole).m).toBeLessThan(1e-6);
  });
});

it('packed documents with resets are the documents one by one', () => {
  tidy(() => {
    const t = drawInputs({ x: { shape: [1, 9, 6] }, ...parameters(1, 6) });
    const reset = tensor([[1, 0, 0, 0, 1, 0, 0, 0, 0]], [1, 9], 'int32');
    const packed = rgLru(t.x, ...all(t), { reset });
    const one = (from: number, to: number) =>
      rgLru(slice(t.x, [0, from, 0], [1, to - from, 6]), ...all(t), {
        reset: slice(reset, [0, from], [1, to - from]),
      });
    expect(deviation(packed.dataSync(), concat([one(0, 4), one(4, 9)], 1).dataSync()).m).toBeLessThan(1e-6);
  });
});

it('is accurate where the decay is nearly 1', () => {
  tidy(() => {
    const t = drawInputs({ x: { shape: [1, 300, 8] }, ...parameters(1, 8) });
    const slow = all({ ...t, p: fill([8], -12) });
    const expected = outputsOf(() => reference.rgLru(t.x, ...slow))[0];
    expect(deviation(outputsOf(() => rgLru(t.x, ...slow))[0], expected).r).toBeLessThan(SCAN.r);
  });
});

it('names what is wrong', () => {
  tidy(() => {
    const t = drawInputs({ x: { shape: [1, 3, 8] }, ...parameters(2, 4) });
    expect(() => rgLru(ones([1, 3, 9]), ...all({ ...t, p: ones([9]) }))).toThrow(
      'rgLru: x has W = 9 channels; expected H d = 8 (from inputGateBias)',
    );
    expect(() => rgLru(t.x, ...all(t), { reset: ones([1, 3]) })).toThrow(
      'rgLru: reset must be int32; got float32',
    );
    expect(() => rgLru(t.x, ...all(t), { c: Number.NaN })).toThrow(
      'rgLru: c must be a finite number; got NaN',
    );
    expect(() => rgLru(t.x, ...all({ ...t, wr: ones([2, 4, 5]) }))).toThrow(
      'rgLru: recurrentGateWeight has shape [2,4,5]; expected [H, d, d] = [2,4,4] (H from inputGateBias, d from inputGateBias)',
    );
  });
});
