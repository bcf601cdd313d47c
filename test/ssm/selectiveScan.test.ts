import { concat, fill, grads, reshape, slice, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SCAN } from '../../src/catalog/bounds';
import { deviation, drawInputs, gradientsOf, outputsOf } from '../../src/catalog/numerics';
import type { Case, InputSpec, Tensors } from '../../src/catalog/types';
import * as linnet from '../../src/ops';
import { selectiveScan, selectiveStateUpdate } from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, golden } from '../golden';
import { expectParity } from '../parity';

const cases = golden('ssm').filter(({ op }) => op === 'selective_scan');

describe.each([
  ['kernel', linnet],
  ['reference', reference as typeof linnet],
])('%s', (_, ops) => {
  it.each(cases.map((c) => [c.case, c] as const))('equals the golden vector %s', (_name, c) => {
    const options = { deltaSoftplus: c.attrs.deltaSoftplus, returnLastState: true } as const;
    expectGolden(
      c,
      (x): Record<string, Tensor> => {
        const rest = { D: x.D, z: x.z, deltaBias: x.delta_bias, ...options };
        if (!c.attrs.complex) {
          const all = { ...rest, initialState: x.initial_state };
          const { output, lastState } = ops.selectiveScan(x.u, x.delta, x.A, x.B, x.C, all);
          return { o: output, last_state: lastState };
        }
        const [A, B, C] = ['A', 'B', 'C'].map((name) => ({ re: x[`${name}_re`], im: x[`${name}_im`] }));
        const { output, lastState } = ops.selectiveScan(x.u, x.delta, A, B, C, rest);
        return { o: output, last_state_re: lastState.re, last_state_im: lastState.im };
      },
      SCAN,
    );
  });
});

describe.each([
  ['kernel', linnet],
  ['reference', reference as typeof linnet],
])('selectiveStateUpdate, %s', (_, ops) => {
  const updates = golden('ssm').filter(({ op }) => op === 'selective_state_update');
  it.each(updates.map((c) => [c.case, c] as const))('equals the golden vector %s', (_name, c) => {
    expectGolden(
      c,
      (x) => {
        const options = { D: x.D, z: x.z, dtBias: x.dt_bias, dtSoftplus: c.attrs.dtSoftplus };
        const { output, state } = ops.selectiveStateUpdate(x.state, x.x, x.dt, x.A, x.B, x.C, options);
        return { o: output, new_state: state };
      },
      SCAN,
    );
  });
});

interface Shapes {
  B: number;
  T: number;
  G: number;
  perGroup: number;
  N: number;
  formB: 'constant' | 'token';
  formC: 'constant' | 'token';
  options: boolean;
}

const decay = { draw: 'logSigmoid', shift: -1 } as const;

function caseOf({ B, T, G, perGroup, N, formB, formC, options }: Shapes): Case {
  const Dm = G * perGroup;
  const matrix = (form: string) => ({
    shape: form === 'constant' ? [Dm, N] : G > 1 ? [B, T, G, N] : [B, T, N],
  });
  const inputs: Record<string, InputSpec> = {
    u: { shape: [B, T, Dm] },
    delta: { shape: [B, T, Dm], draw: 'sigmoid', shift: -2 },
    A: { ...decay, shape: [Dm, N] },
    b: matrix(formB),
    c: matrix(formC),
    ...(options
      ? {
          D: { shape: [Dm] },
          z: { shape: [B, T, Dm] },
          deltaBias: { shape: [Dm] },
          initialState: { shape: [B, Dm, N] },
        }
      : {}),
  };
  return {
    id: '',
    inputs,
    call: (ops, { u, delta, A, b, c, ...rest }) => {
      const all = { ...rest, deltaSoftplus: options, returnLastState: true } as const;
      const { output, lastState } = ops.selectiveScan(u, delta, A, b, c, all);
      return [output, lastState];
    },
  };
}

it('equals the reference for any shape, gradients too, and writes inside its outputs', () => {
  const form = fc.constantFrom('constant', 'token', 'token');
  fc.assert(
    fc.property(
      fc.record({
        B: fc.nat(3),
        T: fc.constantFrom(0, 1, 2, 31, 33, 64, 65, 100),
        G: fc.constantFrom(1, 1, 2, 3),
        perGroup: fc.constantFrom(0, 1, 3, 4, 7, 8, 17, 66, 70),
        N: fc.constantFrom(0, 1, 3, 4, 16),
        formB: form,
        formC: form,
        options: fc.boolean(),
      }) as fc.Arbitrary<Shapes>,
      (shapes) => expectParity(caseOf(shapes)),
    ),
    { numRuns: 50 },
  );
});

it.each([1, 4, 16, 64, 128])('N = %i', (N) => {
  expectParity(caseOf({ B: 1, T: 70, G: 1, perGroup: 9, N, formB: 'token', formC: 'token', options: true }));
});

it.each([1, 33, 1000, 16384])('T = %i', (T) => {
  const shapes = {
    B: 1,
    T,
    G: 1,
    perGroup: 3,
    N: 4,
    formB: 'token',
    formC: 'token',
    options: false,
  } as const;
  expectParity(caseOf(shapes), SCAN, T < 16384);
});

/** Tokens [begin, end) of what has a time axis. */
function part(x: Tensors, begin: number, end: number): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(x).map(([name, t]) => {
      if (!['u', 'delta', 'b', 'c', 'z'].includes(name)) return [name, t];
      const from = t.shape.map((_, axis) => (axis === 1 ? begin : 0));
      return [
        name,
        slice(
          t,
          from,
          t.shape.map((size, axis) => (axis === 1 ? end - begin : size)),
        ),
      ];
    }),
  );
}

it('split anywhere, with the state carried, is the whole, bit for bit; so is token by token', () => {
  const whole = caseOf({
    B: 2,
    T: 75,
    G: 1,
    perGroup: 11,
    N: 5,
    formB: 'token',
    formC: 'token',
    options: true,
  });
  tidy(() => {
    const tensors = drawInputs(whole.inputs);
    const [output, last] = (whole.call(linnet, tensors) as Tensor[]).map((t) => t.dataSync());
    for (const bounds of [[0, 1, 75], [0, 32, 50, 75], Array.from({ length: 76 }, (_, i) => i)]) {
      let state = tensors.initialState;
      const outputs: Tensor[] = [];
      for (let i = 1; i < bounds.length; i++) {
        const x = { ...part(tensors, bounds[i - 1], bounds[i]), initialState: state };
        const [piece, next] = whole.call(linnet, x) as Tensor[];
        outputs.push(piece);
        state = next;
      }
      expect(concat(outputs, 1).dataSync()).toEqual(output);
      expect(state.dataSync()).toEqual(last);
    }
  });
});

it('updates token by token are the whole, bit for bit', () => {
  const whole = caseOf({
    B: 2,
    T: 9,
    G: 1,
    perGroup: 11,
    N: 5,
    formB: 'token',
    formC: 'token',
    options: true,
  });
  tidy(() => {
    const x = drawInputs(whole.inputs);
    const [output, last] = whole.call(linnet, x) as Tensor[];
    let state = x.initialState;
    const token = (t: Tensor, i: number) =>
      reshape(slice(t, [0, i, 0], [2, 1, t.shape[2]!]), [2, t.shape[2]!]);
    for (let i = 0; i < 9; i++) {
      const [u, delta, b, c, z] = [x.u, x.delta, x.b, x.c, x.z].map((t) => token(t, i));
      const options = { D: x.D, z, dtBias: x.deltaBias, dtSoftplus: true };
      const next = selectiveStateUpdate(state, u, delta, x.A, b, c, options);
      expect(next.output.dataSync()).toEqual(token(output, i).dataSync());
      state = next.state;
    }
    expect(state.dataSync()).toEqual(last.dataSync());
  });
});

it('keeps the state at steps of 0 and forgets it at large ones', () => {
  tidy(() => {
    const { u, A, b, c, state } = drawInputs({
      u: { shape: [1, 40, 3] },
      A: { ...decay, shape: [3, 4] },
      b: { shape: [1, 40, 4] },
      c: { shape: [1, 40, 4] },
      state: { shape: [1, 3, 4] },
    });
    const keep = { initialState: state, returnLastState: true } as const;
    const still = selectiveScan(u, zeros([1, 40, 3]), A, b, c, keep);
    expect(still.lastState.dataSync()).toEqual(state.dataSync());
    const far = fill([1, 40, 3], 1e4);
    const forgetful = selectiveScan(u, far, A, b, c, keep).lastState.dataSync();
    const fresh = selectiveScan(u, far, A, b, c, { returnLastState: true }).lastState.dataSync();
    expect(forgetful).toEqual(fresh);
  });
});

it('is bit-identical from run to run, and the same whether a gradient is recorded', () => {
  const c = caseOf({ B: 2, T: 130, G: 2, perGroup: 9, N: 6, formB: 'token', formC: 'token', options: true });
  tidy(() => {
    const tensors = drawInputs(c.inputs);
    const first = outputsOf(() => c.call(linnet, tensors));
    expect(outputsOf(() => c.call(linnet, tensors))).toEqual(first);
    let recorded: Float64Array[] = [];
    const gradients = () =>
      gradientsOf(c, tensors, (t) => {
        const outputs = c.call(linnet, t) as Tensor[];
        recorded = outputs.map((output) => Float64Array.from(output.dataSync()));
        return outputs;
      });
    const once = gradients();
    expect(gradients()).toEqual(once);
    expect(recorded).toEqual(first);
  });
});

it('keeps a NaN in its channel and later tokens', () => {
  tidy(() => {
    const x = drawInputs({
      delta: { shape: [1, 4, 2], draw: 'sigmoid' },
      A: { ...decay, shape: [2, 2] },
      b: { shape: [1, 4, 2] },
      c: { shape: [1, 4, 2] },
    });
    const u = tensor([1, 1, Number.NaN, 1, 1, 1, 1, 1], [1, 4, 2]);
    const output = [...selectiveScan(u, x.delta, x.A, x.b, x.c).dataSync()];
    expect(output.map(Number.isNaN)).toEqual([false, false, true, false, true, false, true, false]);
  });
});

it('a complex scan of real numbers is twice the real one', () => {
  tidy(() => {
    const { u, delta, A, b, c } = drawInputs({
      u: { shape: [1, 9, 3] },
      delta: { shape: [1, 9, 3], draw: 'sigmoid' },
      A: { ...decay, shape: [3, 2] },
      b: { shape: [1, 9, 2] },
      c: { shape: [1, 9, 2] },
    });
    const real = (re: Tensor) => ({ re, im: zeros(re.shape) });
    const twice = selectiveScan(u, delta, real(A), real(b), real(c)).dataSync();
    const once = selectiveScan(u, delta, A, b, c).dataSync();
    expect(
      deviation(
        twice,
        once.map((x) => 2 * x),
      ).r,
    ).toBeLessThan(1e-6);
  });
});

it('has gradients where there are no tokens', () => {
  tidy(() => {
    const state = tensor([1, 2, 3, 4, 5, 6], [1, 3, 2]);
    const f = (A: Tensor, h: Tensor) =>
      selectiveScan(zeros([1, 0, 3]), zeros([1, 0, 3]), A, zeros([1, 0, 2]), zeros([1, 0, 2]), {
        initialState: h,
        returnLastState: true,
      }).lastState;
    const [dA, dState] = grads(f)([zeros([3, 2]), state], state);
    expect([...dA.dataSync()]).toEqual([0, 0, 0, 0, 0, 0]);
    expect(dState.dataSync()).toEqual(state.dataSync());
  });
});

describe('errors', () => {
  const u = zeros([2, 5, 6]);
  const A = zeros([6, 4]);
  const b = zeros([2, 5, 4]);
  const grouped = zeros([2, 5, 4, 4]);
  it.each<[string, () => unknown, string]>([
    [
      'u',
      () => selectiveScan(zeros([5, 6]), u, A, b, b),
      'selectiveScan: u has shape [5,6]; expected [B, T, Dm]',
    ],
    [
      'A',
      () => selectiveScan(u, u, zeros([5, 4]), b, b),
      'selectiveScan: A has shape [5,4]; expected [Dm, N] = [6,N] (Dm from u)',
    ],
    [
      'B',
      () => selectiveScan(u, u, A, zeros([2, 5, 3]), b),
      'selectiveScan: B has shape [2,5,3]; expected [B, T, N] = [2,5,4] (B from u, T from u, N from A)',
    ],
    [
      'C grouped as B',
      () => selectiveScan(u, u, A, b, grouped),
      'selectiveScan: C has shape [2,5,4,4]; expected [B, T, N]',
    ],
    [
      'groups',
      () => selectiveScan(u, u, A, grouped, grouped),
      'selectiveScan: Dm = 6 must be a multiple of G = 4',
    ],
    [
      'complex',
      () => selectiveScan(u, u, { re: A, im: A }, b as never, b as never),
      'selectiveScan: B must be complex, { re, im } of tensors; got one tensor',
    ],
    [
      'update',
      () => selectiveStateUpdate(zeros([2, 6, 4]), u, u, A, b, b),
      'selectiveStateUpdate: state has shape [2,6,4]; expected [B, H, D, N]',
    ],
    [
      'heads of an update',
      () =>
        selectiveStateUpdate(zeros([2, 5, 6, 4]), u, u, zeros([5, 6, 4]), zeros([2, 3, 4]), zeros([2, 3, 4])),
      'selectiveStateUpdate: H = 5 must be a multiple of G = 3',
    ],
    [
      'initialState',
      () => selectiveScan(u, u, A, b, b, { initialState: A }),
      'selectiveScan: initialState has shape [6,4]; expected [B, Dm, N]',
    ],
  ])('%s', (_, call, message) => {
    expect(call).toThrow(message);
  });
});
