import { concat, fill, ones, reverse, slice, type Tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SCAN } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64 } from '../../src/catalog/numerics';
import type { Case, InputSpec, Tensors } from '../../src/catalog/types';
import type { Complex } from '../../src/index';
import * as linnet from '../../src/ops';
import { complexScan, linearScan } from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, golden } from '../golden';
import { expectParity } from '../parity';

const complex = (t: Tensors, name: string): Complex => ({ re: t[`${name}Re`], im: t[`${name}Im`] });

describe.each([
  ['kernel', linnet],
  ['reference', reference as typeof linnet],
])('%s', (_, ops) => {
  it.each(
    golden('ssm')
      .filter(({ op }) => op === 'linear_scan')
      .map((c) => [c.case, c] as const),
  )('linearScan equals the golden vector %s', (_name, c) => {
    const { reverse } = c.attrs;
    expectGolden(
      c,
      ({ a, b, initial_state }) => ({ h: ops.linearScan(a, b, { initialState: initial_state, reverse }) }),
      SCAN,
    );
  });

  it('complexScan equals the golden vector', () => {
    const [c] = golden('ssm').filter(({ op }) => op === 'complex_scan');
    expectGolden(
      c,
      (t) => {
        const { re, im } = ops.complexScan(
          { re: t.lambda_re, im: t.lambda_im },
          { re: t.x_re, im: t.x_im },
          { initialState: { re: t.initial_re, im: t.initial_im } },
        );
        return { h_re: re, h_im: im };
      },
      SCAN,
    );
  });
});

const CASES: Record<string, (sizes: { B: number; T: number; D: number }, f: Flags) => Case> = {
  linearScan: ({ B, T, D }, { shared, state, backwards }) => ({
    id: '',
    inputs: {
      a: { shape: shared ? [D] : [B, T, D], scale: 0.7 },
      b: { shape: [B, T, D] },
      ...(state ? { initial: { shape: [B, D] } } : {}),
    },
    call: (ops, { a, b, initial }) => {
      const options = { initialState: initial, reverse: backwards };
      if (!state) return ops.linearScan(a, b, options);
      const { output, finalState } = ops.linearScan(a, b, { ...options, outputFinalState: true });
      return [output, finalState];
    },
  }),
  complexScan: ({ B, T, D }, { shared, state, backwards }) => {
    const parts = (name: string, spec: InputSpec) => ({ [`${name}Re`]: spec, [`${name}Im`]: spec });
    return {
      id: '',
      inputs: {
        ...parts('a', { shape: shared ? [D] : [B, T, D], scale: 0.5 }),
        ...parts('b', { shape: [B, T, D] }),
        ...(state ? parts('initial', { shape: [B, D] }) : {}),
      },
      call: (ops, t) => {
        const options = { initialState: state ? complex(t, 'initial') : undefined, reverse: backwards };
        const [a, b] = [complex(t, 'a'), complex(t, 'b')];
        if (!state) return Object.values(ops.complexScan(a, b, options));
        const { output, finalState } = ops.complexScan(a, b, { ...options, outputFinalState: true });
        return [output.re, output.im, finalState.re, finalState.im];
      },
    };
  },
};
interface Flags {
  shared: boolean;
  state: boolean;
  backwards: boolean;
}

it.each(Object.keys(CASES))(
  '%s equals the reference for any shape, gradients too, and writes inside its outputs',
  (name) => {
    const sizes = fc.record({ B: fc.nat(3), T: fc.nat(20), D: fc.oneof(fc.nat(13), fc.nat(300)) });
    const flags = fc.record({ shared: fc.boolean(), state: fc.boolean(), backwards: fc.boolean() });
    fc.assert(
      fc.property(sizes, flags, (size, f) => {
        const c = CASES[name](size, f);
        expectParity(c);
      }),
      { numRuns: 60 },
    );
  },
);

const part = (x: Tensor, from: number, to: number) => slice(x, [0, from, 0], [x.shape[0], to - from, -1]);
const values = (...tensors: Tensor[]) => tensors.flatMap((t) => [...t.dataSync()]);

it.each([1, 33, 1000, 16384])('T = %i: within bounds, split and carried the same', (T) => {
  tidy(() => {
    const D = T > 1000 ? 3 : 21;
    const t = drawInputs({
      a: { shape: [1, T, D], draw: 'sigmoid', shift: 3 },
      bRe: { shape: [1, T, D] },
      bIm: { shape: [1, T, D] },
      lambdaRe: { shape: [D], scale: 0.1, shift: 0.85 },
      lambdaIm: { shape: [D], scale: 0.1 },
    });
    const [h, hc] = [linearScan(t.a, t.bRe), complexScan(complex(t, 'lambda'), complex(t, 'b'))];
    const expected = reference.complexScan(complex(t, 'lambda'), complex(t, 'b'));
    expect(deviation(float64(h), float64(reference.linearScan(t.a, t.bRe))).r).toBeLessThanOrEqual(SCAN.r);
    expect(deviation(float64(hc.re), float64(expected.re)).r).toBeLessThanOrEqual(SCAN.r);
    expect(deviation(float64(hc.im), float64(expected.im)).r).toBeLessThanOrEqual(SCAN.r);

    const cut = Math.floor(T / 3);
    const one = linearScan(part(t.a, 0, cut), part(t.bRe, 0, cut), { outputFinalState: true });
    const two = linearScan(part(t.a, cut, T), part(t.bRe, cut, T), { initialState: one.finalState });
    expect(values(concat([one.output, two], 1))).toEqual(values(h));
    const half = (from: number, to: number) => ({ re: part(t.bRe, from, to), im: part(t.bIm, from, to) });
    const first = complexScan(complex(t, 'lambda'), half(0, cut), { outputFinalState: true });
    const rest = complexScan(complex(t, 'lambda'), half(cut, T), { initialState: first.finalState });
    expect(values(concat([first.output.re, rest.re], 1))).toEqual(values(hc.re));
    expect(values(concat([first.output.im, rest.im], 1))).toEqual(values(hc.im));
  });
});

it('step by step is the whole, and reverse is the flipped scan of flipped inputs', () => {
  tidy(() => {
    const t = drawInputs({ a: { shape: [2, 9, 5], draw: 'sigmoid' }, b: { shape: [2, 9, 5] } });
    let initialState: Tensor = zeros([2, 5]);
    const steps = Array.from({ length: 9 }, (_, i) => {
      const step = linearScan(part(t.a, i, i + 1), part(t.b, i, i + 1), {
        initialState,
        outputFinalState: true,
      });
      initialState = step.finalState;
      return step.output;
    });
    expect(values(concat(steps, 1))).toEqual(values(linearScan(t.a, t.b)));
    const flipped = linearScan(reverse(t.a, 1), reverse(t.b, 1));
    expect(values(linearScan(t.a, t.b, { reverse: true }))).toEqual(values(reverse(flipped, 1)));
  });
});

it('a of 0 forgets, a of 1 sums', () => {
  tidy(() => {
    const b = ones([1, 5, 3]);
    const initialState = fill([1, 3], 7);
    expect(values(linearScan(zeros([1, 5, 3]), b, { initialState }))).toEqual(values(b));
    const sums = linearScan(ones([1, 5, 3]), b, { initialState });
    expect(values(sums)).toEqual([8, 9, 10, 11, 12].flatMap((x) => [x, x, x]));
    const i = { re: zeros([1]), im: ones([1]) };
    const turned = complexScan(
      i,
      { re: zeros([1, 3, 1]), im: zeros([1, 3, 1]) },
      {
        initialState: { re: ones([1, 1]), im: zeros([1, 1]) },
      },
    );
    expect(values(turned.re, turned.im).map((x) => x + 0)).toEqual([0, -1, 0, 1, 0, -1]);
  });
});

it('a NaN stays in its channel, from its token on', () => {
  tidy(() => {
    const b = concat([zeros([1, 2, 4]), fill([1, 1, 4], Number.NaN), zeros([1, 2, 4])], 1);
    const a = concat([ones([1, 5, 4]), ones([1, 5, 4])], 2);
    const h = linearScan(a, concat([b, zeros([1, 5, 4])], 2));
    expect(values(part(h, 0, 2)).some(Number.isNaN)).toBe(false);
    expect(values(part(h, 4, 5)).map(Number.isNaN)).toEqual([
      ...Array(4).fill(true),
      ...Array(4).fill(false),
    ]);
  });
});

it('no tokens leave the state as it was', () => {
  tidy(() => {
    const none = zeros([2, 0, 3]);
    const { output, finalState } = linearScan(none, none, {
      initialState: fill([2, 3], 4),
      outputFinalState: true,
    });
    expect(output.shape).toEqual([2, 0, 3]);
    expect(values(finalState)).toEqual(Array(6).fill(4));
  });
});

it('names what is wrong', () => {
  tidy(() => {
    const x = zeros([2, 5, 3]);
    expect(() => linearScan(zeros([2, 5, 4]), x)).toThrow(
      'linearScan: a has shape [2,5,4]; expected [B, T, D] = [2,5,3] (B from b, T from b, D from b)',
    );
    expect(() => linearScan(x, x, { initialState: zeros([3]) })).toThrow(
      'linearScan: initialState has shape [3]; expected [B, D]',
    );
    expect(() => linearScan(x, zeros([2, 5, 3], 'int32'))).toThrow(
      'linearScan: b must be float32; got int32',
    );
    const c = { re: x, im: x };
    expect(() => complexScan({ re: zeros([4]), im: zeros([4]) }, c)).toThrow(
      'complexScan: a.re has shape [4]; expected [D] = [3] (D from b.re)',
    );
    expect(() => complexScan(c, x as never)).toThrow(
      'complexScan: b must be complex, { re, im } of tensors; got one tensor',
    );
  });
});
