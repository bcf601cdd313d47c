import { concat, reverse, slice, type Tensor, tensor, tidy, transpose, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SCAN } from '../../src/catalog/bounds';
import { deviation, drawInputs } from '../../src/catalog/numerics';
import type { Case, InputSpec, Tensors } from '../../src/catalog/types';
import type { Complex } from '../../src/index';
import * as linnet from '../../src/ops';
import { fftConv, lru, s5 } from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, golden } from '../golden';
import { expectParity } from '../parity';

const complex = (t: Tensors, name: string): Complex => ({ re: t[`${name}_re`], im: t[`${name}_im`] });
const [lruCase] = golden('ssm').filter(({ op }) => op === 'lru');
const [s5Case] = golden('ssm').filter(({ op }) => op === 's5');

describe.each([
  ['kernel', linnet],
  ['reference', reference as typeof linnet],
])('%s', (_, ops) => {
  it('lru equals the golden vector', () => {
    expectGolden(
      lruCase,
      (t) => ({
        o: ops.lru(t.u, t.nu_log, t.theta_log, t.gamma_log, complex(t, 'B'), complex(t, 'C'), t.D),
      }),
      SCAN,
    );
  });

  it('s5 equals the golden vector', () => {
    expectGolden(
      s5Case,
      (t) => ({
        o: ops.s5(t.u, complex(t, 'Lambda'), t.log_step, complex(t, 'B'), complex(t, 'C'), t.D),
      }),
      SCAN,
    );
  });
});

function inputs(B: number, T: number, D: number, N: number): Record<string, InputSpec> {
  const parts = (name: string, shape: number[], scale: number) => ({
    [`${name}_re`]: { shape, scale },
    [`${name}_im`]: { shape, scale },
  });
  return {
    u: { shape: [B, T, D] },
    Lambda_re: { shape: [N], draw: 'logSigmoid' },
    Lambda_im: { shape: [N], scale: 3 },
    nuLog: { shape: [N], scale: 0.5, shift: -1 },
    thetaLog: { shape: [N], scale: 0.5 },
    gammaLog: { shape: [N], scale: 0.3, shift: -0.5 },
    logStep: { shape: [N], scale: 0.5, shift: -1.5 },
    ...parts('B', [N, D], 0.5),
    ...parts('C', [D, N], 0.5),
    D: { shape: [D] },
    ...parts('initial', [B, N], 1),
  };
}

interface Options {
  initialState?: Complex;
  reverse?: boolean;
  outputFinalState?: true;
  discretization?: 'zoh' | 'bilinear';
}
const callLru = (ops: typeof linnet, t: Tensors, options: Options & { outputFinalState: true }) =>
  ops.lru(t.u, t.nuLog, t.thetaLog, t.gammaLog, complex(t, 'B'), complex(t, 'C'), t.D, options);
const callS5 = (ops: typeof linnet, t: Tensors, options: Options & { outputFinalState: true }) =>
  ops.s5(t.u, complex(t, 'Lambda'), t.logStep, complex(t, 'B'), complex(t, 'C'), t.D, options);

it.each([
  ['lru', callLru, ['nuLog', 'thetaLog', 'gammaLog']],
  ['s5', callS5, ['Lambda_re', 'Lambda_im', 'logStep']],
] as const)(
  '%s equals the reference for any shape, gradients too, and writes inside its outputs',
  (_, call, own) => {
    const sizes = fc.record({
      B: fc.nat(2),
      T: fc.nat(20),
      D: fc.integer({ min: 1, max: 9 }),
      N: fc.integer({ min: 1, max: 9 }),
    });
    fc.assert(
      fc.property(sizes, fc.boolean(), fc.boolean(), ({ B, T, D, N }, backwards, bilinear) => {
        const c: Case = {
          id: '',
          inputs: inputs(B, T, D, N),
          differentiable: [...own, 'u', 'B_re', 'B_im', 'C_re', 'C_im', 'D', 'initial_re', 'initial_im'],
          call: (ops, t) => {
            const { output, finalState } = call(ops as never, t, {
              initialState: complex(t, 'initial'),
              reverse: backwards,
              outputFinalState: true,
              discretization: bilinear ? 'bilinear' : 'zoh',
            });
            return [output, finalState.re, finalState.im];
          },
        };
        expectParity(c);
      }),
      { numRuns: 30 },
    );
  },
);

it.each([
  ['lru', callLru],
  ['s5', callS5],
] as const)('%s: recurrent = convolutional, split and carried the same, reverse = flipped', (_, call) => {
  tidy(() => {
    const [T, D] = [37, 3];
    const t = drawInputs(inputs(1, T, D, 5));
    const { output: whole } = call(linnet, t, { outputFinalState: true });

    // the response of output d to an impulse at input e, for every pair, is a kernel
    const total = Array.from({ length: D }, (_, e) => {
      const impulse = tensor(
        Array.from({ length: T * D }, (_, i) => (i === e ? 1 : 0)),
        [1, T, D],
      );
      const response = call(linnet, { ...t, u: impulse }, { outputFinalState: true }).output;
      const kernels = transpose(response, [0, 2, 1]).dataSync();
      const one = slice(t.u, [0, 0, e], [1, T, 1]);
      return fftConv(concat(Array(D).fill(one), 2), tensor(kernels, [D, T])).dataSync();
    }).reduce((sum, part) => sum.map((x, i) => x + part[i]));
    expect(deviation(total, whole.dataSync()).r).toBeLessThan(SCAN.r);

    const part = (x: Tensor, from: number, to: number) => slice(x, [0, from, 0], [1, to - from, D]);
    const first = call(linnet, { ...t, u: part(t.u, 0, 14) }, { outputFinalState: true });
    const rest = call(
      linnet,
      { ...t, u: part(t.u, 14, T) },
      { initialState: first.finalState, outputFinalState: true },
    );
    const joined = concat([first.output, rest.output], 1).dataSync();
    expect(deviation(joined, whole.dataSync()).m).toBeLessThan(1e-6);

    const flipped = call(linnet, { ...t, u: reverse(t.u, 1) }, { reverse: true, outputFinalState: true });
    expect(deviation(reverse(flipped.output, 1).dataSync(), whole.dataSync()).m).toBeLessThan(1e-6);
  });
});

it.each([
  [0, 3],
  [3, 0],
])('D = %i and N = %i leave what there is', (D, N) => {
  tidy(() => {
    const t = drawInputs(inputs(1, 2, D, N));
    const { output, finalState } = callS5(linnet, t, { outputFinalState: true });
    const expected = [...t.u.dataSync()].map((x, i) => x * t.D.dataSync()[i % D]);
    expect(deviation(output.dataSync(), expected).m).toBeLessThan(1e-6);
    expect([...finalState.re.dataSync()]).toEqual(Array(N).fill(0));
  });
});

it('names what is wrong', () => {
  tidy(() => {
    const t = drawInputs(inputs(1, 4, 3, 2));
    const [B, C] = [complex(t, 'B'), complex(t, 'C')];
    expect(() => lru(t.u, t.nuLog, zeros([3]), t.gammaLog, B, C, t.D)).toThrow(
      'lru: thetaLog has shape [3]; expected [N] = [2] (N from nuLog)',
    );
    expect(() => lru(t.u, t.nuLog, t.thetaLog, t.gammaLog, C, C, t.D)).toThrow(
      'lru: B.re has shape [3,2]; expected [N, D] = [2,3] (N from nuLog, D from u)',
    );
    expect(() =>
      s5(t.u, complex(t, 'Lambda'), t.logStep, B, C, t.D, { discretization: 'euler' as never }),
    ).toThrow('s5: discretization must be one of zoh, bilinear; got euler');
    expect(() => s5(t.u, t.logStep as never, t.logStep, B, C, t.D)).toThrow(
      's5: Lambda must be complex, { re, im } of tensors; got one tensor',
    );
  });
});
