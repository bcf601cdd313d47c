import { concat, grads, slice, type Tensor, tensor, tidy, unstack, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SCAN } from '../../src/catalog/bounds';
import { drawInputs } from '../../src/catalog/numerics';
import type { Case, InputSpec } from '../../src/catalog/types';
import * as linnet from '../../src/ops';
import { causalConv1d, causalConv1dUpdate } from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, golden } from '../golden';
import { expectParity } from '../parity';

const cases = golden('ssm').filter(({ op }) => op === 'causal_conv1d');

describe.each([
  ['kernel', linnet],
  ['reference', reference as typeof linnet],
])('%s', (_, ops) => {
  it.each(cases.map((c) => [c.case, c] as const))('equals the golden vector %s', (_name, c) => {
    expectGolden(
      c,
      (x) => {
        const { activation } = c.attrs;
        const options = {
          bias: x.bias,
          initialState: x.initial_state,
          activation,
          outputFinalState: true,
        } as const;
        const { output, finalState } = ops.causalConv1d(x.x, x.weight, options);
        return { o: output, final_state: finalState };
      },
      SCAN,
    );
  });
});

it('equals the reference for any shape, gradients too, and writes inside its outputs', () => {
  fc.assert(
    fc.property(
      fc.record({
        B: fc.nat(2),
        T: fc.constantFrom(0, 1, 2, 3, 9, 63, 64, 65, 66, 70, 130),
        D: fc.constantFrom(0, 1, 3, 4, 5, 8, 13, 260),
        W: fc.constantFrom(1, 2, 3, 4, 5, 9),
        silu: fc.boolean(),
        bias: fc.boolean(),
        sequences: fc.constantFrom('one', 'states', 'packed'),
        seed: fc.nat(1000),
      }),
      ({ B, T, D, W, silu, bias, sequences, seed }) => {
        const inputs: Record<string, InputSpec> = {
          x: { shape: [B, T, D] },
          weight: { shape: [D, W] },
          ...(bias ? { bias: { shape: [D] } } : {}),
          ...(sequences === 'states' ? { initialState: { shape: [B, D, W - 1] } } : {}),
        };
        const seqIdx = Array.from({ length: B * T }, (_, i) => ((i * 7 + seed) % 11 < 8 ? 1 : (i % 4) - 1));
        const activation = silu ? 'silu' : 'none';
        const c: Case = {
          id: '',
          inputs,
          call: (ops, { x, weight, ...rest }) => {
            if (sequences === 'packed') return ops.causalConv1d(x, weight, { ...rest, activation, seqIdx });
            const options = { ...rest, activation, outputFinalState: true } as const;
            const { output, finalState } = ops.causalConv1d(x, weight, options);
            return [output, finalState];
          },
        };
        expectParity(c);
      },
    ),
    { numRuns: 80 },
  );
});

it('split anywhere, with the state carried, is the whole, bit for bit; so are updates token by token', () => {
  tidy(() => {
    const { x, weight, bias, state } = drawInputs({
      x: { shape: [2, 70, 6] },
      weight: { shape: [6, 4] },
      bias: { shape: [6] },
      state: { shape: [2, 6, 3] },
    });
    const options = { bias, activation: 'silu', outputFinalState: true } as const;
    const whole = causalConv1d(x, weight, { ...options, initialState: state });
    for (const cut of [0, 1, 2, 3, 33, 69]) {
      const first = causalConv1d(slice(x, [0, 0, 0], [2, cut, 6]), weight, {
        ...options,
        initialState: state,
      });
      const rest = slice(x, [0, cut, 0], [2, 70 - cut, 6]);
      const second = causalConv1d(rest, weight, { ...options, initialState: first.finalState });
      expect(concat([first.output, second.output], 1).dataSync()).toEqual(whole.output.dataSync());
      expect(second.finalState.dataSync()).toEqual(whole.finalState.dataSync());
    }
    const tokens = unstack(x, 1).slice(0, 9);
    let carried: Tensor = state;
    for (const [t, token] of tokens.entries()) {
      const { output, state: next } = causalConv1dUpdate(token, carried, weight, {
        bias,
        activation: 'swish',
      });
      expect(output.dataSync()).toEqual(slice(whole.output, [0, t, 0], [2, 1, 6]).dataSync());
      carried = next;
    }
  });
});

it('packed sequences are the sequences, bit for bit', () => {
  tidy(() => {
    const { x, weight, bias } = drawInputs({
      x: { shape: [1, 90, 8] },
      weight: { shape: [8, 4] },
      bias: { shape: [8] },
    });
    const bounds = [0, 2, 3, 50, 90];
    const numbers = Array.from({ length: 90 }, (_, t) => bounds.findIndex((bound) => t < bound));
    const seqIdx = tensor(numbers, [1, 90], 'int32');
    const parts = bounds.slice(1).map((end, i) => {
      const tokens = slice(x, [0, bounds[i], 0], [1, end - bounds[i], 8]);
      return causalConv1d(tokens, weight, { bias, activation: 'silu' });
    });
    const packed = causalConv1d(x, weight, { bias, activation: 'silu', seqIdx });
    expect(packed.dataSync()).toEqual(concat(parts, 1).dataSync());
  });
});

it('keeps a NaN in its channel, its window and its sequence', () => {
  tidy(() => {
    const x = tensor([1, 1, Number.NaN, 1, 1, 1, 1, 1, 1, 1, 1, 1], [1, 6, 2]);
    const weight = tensor([1, 1, 1, 1], [2, 2]);
    const nans = (y: Tensor) => [...y.dataSync()].map((value) => (Number.isNaN(value) ? 1 : 0));
    expect(nans(causalConv1d(x, weight))).toEqual([0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    expect(nans(causalConv1d(x, weight, { seqIdx: [0, 0, 1, 1, 1, 1] }))).toEqual([
      0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
  });
});

it('passes the gradient of the state on where there are no tokens', () => {
  tidy(() => {
    const state = tensor([1, 2, 3, 4], [1, 2, 2]);
    const f = (w: Tensor, h: Tensor) =>
      causalConv1d(zeros([1, 0, 2]), w, { initialState: h, outputFinalState: true }).finalState;
    const [dw, dstate] = grads(f)([zeros([2, 3]), state], state);
    expect([...dw.dataSync()]).toEqual([0, 0, 0, 0, 0, 0]);
    expect(dstate.dataSync()).toEqual(state.dataSync());
  });
});

describe('errors', () => {
  const x = zeros([2, 5, 6]);
  const weight = zeros([6, 4]);
  it.each<[string, () => unknown, string]>([
    ['x', () => causalConv1d(zeros([5, 6]), weight), 'causalConv1d: x has shape [5,6]; expected [B, T, D]'],
    [
      'weight',
      () => causalConv1d(x, zeros([4, 6])),
      'causalConv1d: weight has shape [4,6]; expected [D, W] = [6,W] (D from x)',
    ],
    [
      'width',
      () => causalConv1d(x, zeros([6, 0])),
      'causalConv1d: weight has width W = 0; expected at least 1',
    ],
    [
      'state',
      () => causalConv1d(x, weight, { initialState: zeros([2, 6, 4]) }),
      'causalConv1d: initialState has shape [2,6,4]; expected [2, 6, 3]',
    ],
    [
      'activation',
      () => causalConv1d(x, weight, { activation: 'relu' as never }),
      "causalConv1d: activation must be 'silu', 'swish' or 'none'; got relu",
    ],
    [
      'packed states',
      () => causalConv1d(x, weight, { seqIdx: zeros([2, 5], 'int32'), outputFinalState: true }),
      'causalConv1d: seqIdx cannot be combined with initialState or outputFinalState',
    ],
    [
      'seqIdx',
      () => causalConv1d(x, weight, { seqIdx: [1, 2] }),
      'causalConv1d: seqIdx has 2 values; expected B T = 10',
    ],
    [
      'update',
      () => causalConv1dUpdate(x, zeros([2, 6, 3]), weight),
      'causalConv1dUpdate: x has shape [2,5,6]; expected [B, D]',
    ],
  ])('%s', (_, call, message) => {
    expect(call).toThrow(message);
  });
});
