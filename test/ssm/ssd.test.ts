import { concat, fill, reshape, slice, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SCAN } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64 } from '../../src/catalog/numerics';
import type { Case, InputSpec } from '../../src/catalog/types';
import * as linnet from '../../src/ops';
import { selectiveStateUpdate, simpleGla, ssd } from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, golden } from '../golden';
import { expectParity } from '../parity';

const cases = golden('ssm').filter(({ op }) => op === 'ssd');

describe.each([
  ['kernel', linnet],
  ['reference', reference as typeof linnet],
])('%s', (_, ops) => {
  it.each(cases.map((c) => [c.case, c] as const))('equals the golden vector %s', (_name, c) => {
    expectGolden(
      c,
      (x) => {
        const { output, finalState } = ops.ssd(x.x, x.dt, x.A, x.B, x.C, {
          D: x.D,
          z: x.z,
          dtBias: x.dt_bias,
          dtSoftplus: c.attrs.dtSoftplus,
          chunkSize: c.attrs.chunkSize,
          initialState: x.initial_state,
          outputFinalState: true,
        });
        return { o: output, final_state: finalState };
      },
      SCAN,
    );
  });
});

const decay = { draw: 'logSigmoid', shift: -1 } as const;

interface Sizes {
  B: number;
  T: number;
  G: number;
  perGroup: number;
  P: number;
  N: number;
  skip: 'none' | 'head' | 'channel';
  gate: boolean;
  states: boolean;
}

function caseOf({ B, T, G, perGroup, P, N, skip, gate, states }: Sizes): Case {
  const H = G * perGroup;
  const inputs: Record<string, InputSpec> = {
    x: { shape: [B, T, H, P] },
    dt: { shape: [B, T, H] },
    A: { ...decay, shape: [H] },
    b: { shape: [B, T, G, N] },
    c: { shape: [B, T, G, N] },
    dtBias: { shape: [H] },
    ...(skip === 'none' ? {} : { D: { shape: skip === 'head' ? [H] : [H, P] } }),
    ...(gate ? { z: { shape: [B, T, H, P] } } : {}),
    ...(states ? { initialState: { shape: [B, H, P, N] } } : {}),
  };
  return {
    id: '',
    inputs,
    call: (ops, { x, dt, A, b, c, ...options }) => {
      const all = { ...options, dtSoftplus: true, outputFinalState: true } as const;
      const { output, finalState } = ops.ssd(x, dt, A, b, c, all);
      return [output, finalState];
    },
  };
}

it('equals the reference for any shape, gradients too, and writes inside its outputs', () => {
  fc.assert(
    fc.property(
      fc.record({
        B: fc.nat(2),
        T: fc.constantFrom(0, 1, 2, 15, 16, 33, 66),
        G: fc.constantFrom(1, 2),
        perGroup: fc.constantFrom(1, 2, 3),
        P: fc.constantFrom(1, 3, 8, 13),
        N: fc.constantFrom(1, 4, 6, 16),
        skip: fc.constantFrom('none', 'head', 'channel'),
        gate: fc.boolean(),
        states: fc.boolean(),
      }) as fc.Arbitrary<Sizes>,
      (sizes) => expectParity(caseOf(sizes)),
    ),
    { numRuns: 40 },
  );
});

const plain = { B: 1, G: 1, perGroup: 2, skip: 'head', gate: true, states: true } as const;

it.each([1, 4, 16, 64, 128])('N = %i', (N) => expectParity(caseOf({ ...plain, T: 20, P: 5, N })));

it.each([1, 33, 1000, 16384])('T = %i', (T) => {
  expectParity(caseOf({ ...plain, perGroup: 1, T, P: 4, N: 4 }), SCAN, T < 16384);
});

function inputs(T: number) {
  return drawInputs({
    x: { shape: [1, T, 2, 4] },
    dt: { shape: [1, T, 2], draw: 'sigmoid' },
    A: { ...decay, shape: [2] },
    b: { shape: [1, T, 1, 3] },
    c: { shape: [1, T, 1, 3] },
    state: { shape: [1, 2, 4, 3] },
  });
}

it('is its matrix: y = (L o C B^T) dt x, L_ts the decay from s to t', () => {
  tidy(() => {
    const T = 40;
    const { x, dt, A, b, c } = inputs(T);
    const [vx, vdt, vA, vb, vc] = [x, dt, A, b, c].map(float64);
    const expected = new Float64Array(T * 8);
    for (let h = 0; h < 2; h++) {
      for (let t = 0; t < T; t++) {
        let decayed = 1;
        for (let s = t; s >= 0; s--) {
          let score = 0;
          for (let n = 0; n < 3; n++) score += vc[t * 3 + n] * vb[s * 3 + n];
          const weight = score * decayed * vdt[s * 2 + h];
          for (let p = 0; p < 4; p++) expected[(t * 2 + h) * 4 + p] += weight * vx[(s * 2 + h) * 4 + p];
          decayed *= Math.exp(vdt[s * 2 + h] * vA[h]);
        }
      }
    }
    expect(deviation(ssd(x, dt, A, b, c).dataSync(), expected).r).toBeLessThanOrEqual(SCAN.r);
  });
});

it('is simpleGla of queries C, keys B, values dt x and log decays dt A', () => {
  tidy(() => {
    const { x, dt, A, b, c } = inputs(40);
    const [vx, vdt, vA] = [x, dt, A].map(float64);
    const v = tensor(
      Float32Array.from(vx, (value, i) => value * vdt[Math.floor(i / 4)]),
      x.shape,
    );
    const g = tensor(
      Float32Array.from(vdt, (value, i) => value * vA[i % 2]),
      dt.shape,
    );
    const attention = simpleGla(c, b, v, g, { scale: 1 });
    expect(deviation(ssd(x, dt, A, b, c).dataSync(), attention.dataSync()).r).toBeLessThan(1e-6);
  });
});

it('token by token with selectiveStateUpdate is the whole', () => {
  tidy(() => {
    const T = 20;
    const { x, dt, A, b, c, state } = inputs(T);
    const whole = ssd(x, dt, A, b, c, { initialState: state, outputFinalState: true });
    const vA = float64(A);
    const matrix = tensor(
      Array.from({ length: 24 }, (_, i) => vA[Math.floor(i / 12)]),
      [2, 4, 3],
    );
    const vdt = float64(dt);
    let carried = state;
    const outputs: Tensor[] = [];
    for (let t = 0; t < T; t++) {
      const steps = tensor(
        Array.from({ length: 8 }, (_, i) => vdt[t * 2 + Math.floor(i / 4)]),
        [1, 2, 4],
      );
      const token = reshape(slice(x, [0, t, 0, 0], [1, 1, 2, 4]), [1, 2, 4]);
      const [bt, ct] = [b, c].map((m) => reshape(slice(m, [0, t, 0, 0], [1, 1, 1, 3]), [1, 1, 3]));
      const next = selectiveStateUpdate(carried, token, steps, matrix, bt, ct);
      outputs.push(reshape(next.output, [1, 1, 2, 4]));
      carried = next.state;
    }
    expect(deviation(concat(outputs, 1).dataSync(), whole.output.dataSync()).r).toBeLessThanOrEqual(SCAN.r);
    expect(deviation(carried.dataSync(), whole.finalState.dataSync()).r).toBeLessThanOrEqual(SCAN.r);
  });
});

it('split anywhere, with the state carried, is the whole; packed sequences are the sequences', () => {
  tidy(() => {
    const { x, dt, A, b, c, state } = inputs(50);
    const whole = ssd(x, dt, A, b, c, { initialState: state, outputFinalState: true });
    const part = (begin: number, size: number) =>
      [x, dt, b, c].map((t) =>
        slice(
          t,
          t.shape.map((_, axis) => (axis === 1 ? begin : 0)),
          t.shape.map((n, axis) => (axis === 1 ? size : n)),
        ),
      );
    const [first, second] = [part(0, 17), part(17, 33)];
    const keep = { outputFinalState: true } as const;
    const one = ssd(first[0], first[1], A, first[2], first[3], { initialState: state, ...keep });
    const two = ssd(second[0], second[1], A, second[2], second[3], { initialState: one.finalState, ...keep });
    const joined = concat([one.output, two.output], 1).dataSync();
    expect(deviation(joined, whole.output.dataSync()).r).toBeLessThanOrEqual(SCAN.r);
    expect(deviation(two.finalState.dataSync(), whole.finalState.dataSync()).r).toBeLessThanOrEqual(SCAN.r);
    const apart = concat(
      [first, second].map((s) => ssd(s[0], s[1], A, s[2], s[3])),
      1,
    ).dataSync();
    expect(ssd(x, dt, A, b, c, { cuSeqlens: [0, 17, 50] }).dataSync()).toEqual(apart);
    const seqIdx = Array.from({ length: 50 }, (_, t) => (t < 17 ? 3 : 5));
    expect(ssd(x, dt, A, b, c, { seqIdx }).dataSync()).toEqual(apart);
  });
});

it('keeps the state at steps of 0, and at negative ones, and forgets it at large ones', () => {
  tidy(() => {
    const { x, A, b, c, state } = inputs(40);
    const keep = { initialState: state, outputFinalState: true } as const;
    const still = ssd(x, zeros([1, 40, 2]), A, b, c, keep);
    expect(still.finalState.dataSync()).toEqual(state.dataSync());
    expect(ssd(x, fill([1, 40, 2], -1), A, b, c, keep).finalState.dataSync()).toEqual(state.dataSync());
    const far = fill([1, 40, 2], 1e4);
    const fresh = ssd(x, far, A, b, c, { outputFinalState: true }).finalState.dataSync();
    expect(ssd(x, far, A, b, c, keep).finalState.dataSync()).toEqual(fresh);
  });
});

it('does not depend on chunkSize and is bit-identical from run to run', () => {
  tidy(() => {
    const { x, dt, A, b, c } = inputs(50);
    const once = ssd(x, dt, A, b, c).dataSync();
    expect(ssd(x, dt, A, b, c, { chunkSize: 7 }).dataSync()).toEqual(once);
  });
});

describe('errors', () => {
  const x = zeros([2, 5, 4, 3]);
  const dt = zeros([2, 5, 4]);
  const A = zeros([4]);
  const b = zeros([2, 5, 2, 6]);
  it.each<[string, () => unknown, string]>([
    [
      'dt',
      () => ssd(x, zeros([2, 5, 3]), A, b, b),
      'ssd: dt has shape [2,5,3]; expected [B, T, H] = [2,5,4]',
    ],
    [
      'groups',
      () => ssd(x, dt, A, zeros([2, 5, 3, 6]), zeros([2, 5, 3, 6])),
      'ssd: H = 4 must be a multiple of G = 3',
    ],
    [
      'D',
      () => ssd(x, dt, A, b, b, { D: zeros([3]) }),
      'ssd: D has shape [3]; expected [H] = [4] (H from x)',
    ],
    [
      'state',
      () => ssd(x, dt, A, b, b, { initialState: zeros([2, 4, 6, 3]) }),
      'ssd: initialState has shape [2,4,6,3]; expected [2, 4, 3, 6]',
    ],
    [
      'chunks',
      () => ssd(x, dt, A, b, b, { chunkSize: 0 }),
      'ssd: chunkSize must be a positive integer; got 0',
    ],
    ['limits', () => ssd(x, dt, A, b, b, { dtLimit: [1, 0] }), 'ssd: dtLimit must be [min, max]; got [1,0]'],
    [
      'packed twice',
      () => ssd(x, dt, A, b, b, { seqIdx: zeros([2, 5], 'int32'), outputFinalState: true }),
      'ssd: seqIdx cannot be combined with cuSeqlens, initialState or outputFinalState; give cuSeqlens alone',
    ],
    ['seqIdx', () => ssd(x, dt, A, b, b, { seqIdx: [1, 2] }), 'ssd: seqIdx has 2 values; expected B T = 10'],
    [
      'cuSeqlens',
      () => ssd(x, dt, A, b, b, { cuSeqlens: [0, 5] }),
      'ssd: cuSeqlens needs sequences packed along T',
    ],
  ])('%s', (_, call, message) => {
    expect(call).toThrow(message);
  });
});
