import { concat, ones, slice, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DELTA_RULE } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64, gradientsOf } from '../../src/catalog/numerics';
import type { InputSpec, Tensors } from '../../src/catalog/types';
import type { Recurrent, RecurrentOptions } from '../../src/linear';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { damagedBlocks } from '../guard';

type Ops = typeof linnet;
type Options = RecurrentOptions & { outputFinalState: true };
interface Rule {
  /** The inputs it takes, of those `inputsOf` makes, in order. */
  names: readonly string[];
  call(ops: Ops, x: Tensors, options: Options): Recurrent;
  /** Value heads share a key head. */
  grouped: boolean;
  steps?: number;
}

const rules: Record<string, Rule> = {
  deltaRule: {
    names: ['q', 'k', 'v', 'beta'],
    call: (ops, { q, k, v, beta }, options) => ops.deltaRule(q, k, v, beta, options),
    grouped: true,
  },
  gatedDeltaRule: {
    names: ['q', 'k', 'v', 'g', 'beta'],
    call: (ops, { q, k, v, g, beta }, options) => ops.gatedDeltaRule(q, k, v, g, beta, options),
    grouped: true,
  },
  kda: {
    names: ['q', 'k', 'v', 'gk', 'beta'],
    call: (ops, { q, k, v, gk, beta }, options) => ops.kda(q, k, v, gk, beta, options),
    grouped: true,
  },
  comba: {
    names: ['q', 'k', 'v', 'p', 'g', 'beta'],
    call: (ops, { q, k, v, p, g, beta }, options) => ops.comba(q, k, v, p, g, beta, options),
    grouped: true,
  },
  gatedDeltaProduct: {
    names: ['q', 'k', 'v', 'g', 'beta'],
    call: (ops, { q, k, v, g, beta }, options) =>
      ops.gatedDeltaProduct(q, k, v, g, beta, { ...options, numHouseholder: 2 }),
    grouped: true,
    steps: 2,
  },
  dplrDeltaRule: {
    names: ['q', 'k', 'v', 'a', 'b', 'gk'],
    call: (ops, { q, k, v, a, b, gk }, options) => ops.dplrDeltaRule(q, k, v, a, b, gk, options),
    grouped: false,
  },
  rwkv7: {
    names: ['q', 'gk', 'k', 'v', 'a', 'b'],
    call: (ops, { q, gk, k, v, a, b }, options) => ops.rwkv7(q, gk, k, v, a, b, options),
    grouped: false,
  },
  iplrDeltaRule: {
    names: ['q', 'k', 'v', 'a', 'b'],
    call: (ops, { q, k, v, a, b }, options) => ops.iplrDeltaRule(q, k, v, a, b, options),
    grouped: false,
  },
  gatedOjaRule: {
    names: ['q', 'k', 'unitV', 'gv', 'beta'],
    call: (ops, { q, k, unitV, gv, beta }, options) => ops.gatedOjaRule(q, k, unitV, gv, beta, options),
    grouped: false,
  },
};

interface Sizes {
  B: number;
  T: number;
  H: number;
  G: number;
  K: number;
  V: number;
}

function inputsOf({ names, grouped, steps = 1 }: Rule, { B, T, H, G, K, V }: Sizes, seed = 42): Tensors {
  const HV = grouped ? H * G : H;
  const S = T * steps;
  const all: Record<string, InputSpec> = {
    q: { shape: [B, T, H, K] },
    k: { shape: [B, S, H, K], draw: 'unit' },
    v: { shape: [B, S, HV, V] },
    unitV: { shape: [B, S, HV, V], draw: 'unit' },
    p: { shape: [B, S, H, K], draw: 'unit' },
    // b = -eta a keeps the state bounded over thousands of steps, as in RWKV-7
    a: { shape: [B, S, H, K], draw: 'unit' },
    g: { shape: [B, T, HV], draw: 'logSigmoid' },
    gk: { shape: [B, T, HV, K], draw: 'logSigmoid' },
    gv: { shape: [B, T, HV, V], draw: 'logSigmoid' },
    beta: { shape: [B, S, HV], draw: 'sigmoid' },
    state: { shape: [B, HV, K, V] },
  };
  const wanted = Object.entries(all).filter(([name]) => names.includes(name) || name === 'state');
  const x = { ...drawInputs(Object.fromEntries(wanted), seed) };
  if (names.includes('b'))
    x.b = tensor(
      x.a.dataSync().map((value) => -0.6 * value),
      x.a.shape,
    );
  return x;
}

const listOf = ({ output, finalState }: Recurrent) => [output, finalState];
const WITH_STATE = { outputFinalState: true } as const;

function expectClose(actual: readonly Tensor[], expected: readonly Tensor[], bounds = DELTA_RULE): void {
  actual.forEach((value, i) => {
    expect(value.shape).toEqual(expected[i].shape);
    const { r, m } = deviation(float64(value), float64(expected[i]));
    expect(r, `r of output ${i}`).toBeLessThanOrEqual(bounds.r);
    expect(m, `m of output ${i}`).toBeLessThanOrEqual(bounds.m);
  });
}

/** The tokens [from, to) of every input but the state. */
function tokens(rule: Rule, x: Tensors, from: number, to: number): Record<string, Tensor> {
  const perToken = ['q', 'g', 'gk', 'gv'];
  return Object.fromEntries(
    rule.names.map((name) => {
      const steps = perToken.includes(name) ? 1 : (rule.steps ?? 1);
      const begin = x[name].shape.map((_, axis) => (axis === 1 ? from * steps : 0));
      const size = x[name].shape.map((n, axis) => (axis === 1 ? (to - from) * steps : n));
      return [name, slice(x[name], begin, size)];
    }),
  );
}

describe.each(Object.entries(rules))('%s', (_, rule) => {
  const call = (ops: Ops, x: Tensors, options: RecurrentOptions = {}) =>
    listOf(rule.call(ops, x, { initialState: x.state, ...options, ...WITH_STATE }));

  it('equals its reference over shapes', () => {
    const size = fc.constantFrom(1, 3, 4, 5, 8, 12, 17, 24, 40);
    const sizes = fc.record({
      B: fc.integer({ min: 1, max: 2 }),
      T: fc.constantFrom(1, 2, 5, 15, 16, 17, 31, 33, 50),
      H: fc.integer({ min: 1, max: 2 }),
      G: fc.integer({ min: 1, max: 3 }),
      K: size,
      V: size,
    });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 0, max: 1000 }), (shape, seed) => {
        tidy(() => {
          const x = inputsOf(rule, shape, seed);
          expectClose(call(linnet, x), call(reference, x));
        });
      }),
      { numRuns: 15, seed: 3 },
    );
  });

  it('has the gradients of its reference over shapes', () => {
    const shapes = [
      { B: 2, T: 17, H: 2, G: 2, K: 9, V: 13 },
      { B: 1, T: 70, H: 1, G: 3, K: 24, V: 8 },
      { B: 3, T: 105, H: 1, G: 2, K: 40, V: 5 },
      { B: 1, T: 1, H: 1, G: 1, K: 64, V: 64 },
    ];
    for (const shape of shapes) {
      tidy(() => {
        const x = inputsOf(rule, shape);
        const inputs = Object.fromEntries([...rule.names, 'state'].map((name) => [name, x[name]]));
        const c = { id: '', inputs: {}, call: () => [], differentiable: Object.keys(inputs) };
        const [actual, expected] = [linnet, reference].map((ops) =>
          gradientsOf(c, inputs, (t) => call(ops, t)),
        );
        for (const name of Object.keys(inputs))
          expect(deviation(actual[name], expected[name]).r, `d${name}`).toBeLessThan(DELTA_RULE.gradient);
      });
    }
  });

  it('writes nowhere but to its outputs, and reads no scratch it has not written', () => {
    for (const shape of [
      { B: 2, T: 37, H: 2, G: 2, K: 8, V: 16 },
      { B: 1, T: 7, H: 1, G: 1, K: 5, V: 3 },
      { B: 1, T: 300, H: 1, G: 1, K: 13, V: 21 },
    ]) {
      const x = inputsOf(rule, shape);
      const inputs = Object.fromEntries([...rule.names, 'state'].map((name) => [name, x[name]]));
      const c = { id: '', inputs: {}, call: () => [], differentiable: Object.keys(inputs) };
      const expected = gradientsOf(c, inputs, (t) => call(linnet, t));
      let actual: typeof expected = {};
      const damaged = damagedBlocks(() => {
        actual = gradientsOf(c, inputs, (t) => call(linnet, t));
        tidy(() => {
          rule.call(linnet, { ...inputs }, { outputFinalState: true });
        });
      });
      expect(damaged).toBe(0);
      expect(actual).toEqual(expected);
    }
  });

  it.each([1, 63, 64, 65, 1000])('equals its reference at T = %i', (T) => {
    tidy(() => {
      const x = inputsOf(rule, { B: 1, T, H: 1, G: 1, K: 24, V: 40 });
      expectClose(call(linnet, x), call(reference, x));
    });
  });

  it.each([8, 24, 40, 64, 80, 128, 256])('equals its reference at K = %i and another V', (K) => {
    tidy(() => {
      for (const V of [8, K === 80 ? 128 : 80]) {
        const x = inputsOf(rule, { B: 1, T: 37, H: 1, G: 1, K, V });
        expectClose(call(linnet, x), call(reference, x));
      }
    });
  });

  it('may be split anywhere and carry its state', () => {
    tidy(() => {
      const T = 41;
      const x = inputsOf(rule, { B: 2, T, H: 2, G: 1, K: 16, V: 24 });
      const [output, finalState] = call(linnet, x);
      for (const at of [1, 7, 16, 40]) {
        const first = call(linnet, { ...tokens(rule, x, 0, at), state: x.state });
        const rest = call(linnet, { ...tokens(rule, x, at, T), state: first[1] });
        expectClose([concat([first[0], rest[0]], 1), rest[1]], [output, finalState]);
      }
    });
  });

  it('takes one token after another', () => {
    tidy(() => {
      const T = 20;
      const x = inputsOf(rule, { B: 1, T, H: 2, G: 2, K: 16, V: 12 });
      let state = x.state;
      const outputs = Array.from({ length: T }, (_, t) => {
        const [output, next] = call(linnet, { ...tokens(rule, x, t, t + 1), state });
        state = next;
        return output;
      });
      expectClose([concat(outputs, 1), state], call(linnet, x));
    });
  });

  it('does packed sequences as one by one', () => {
    tidy(() => {
      const bounds = [0, 5, 5, 38, 39];
      const x = inputsOf(rule, { B: 1, T: 39, H: 2, G: 1, K: 8, V: 8 });
      const states = drawInputs({ h: { shape: [4, ...x.state.shape.slice(1)] } }).h;
      const packed = call(linnet, x, { cuSeqlens: tensor(bounds, [5], 'int32'), initialState: states });
      const single = bounds.slice(1).flatMap((to, n) => {
        const state = slice(states, [n, 0, 0, 0], [1, ...states.shape.slice(1)] as never);
        return to === bounds[n] ? [] : [call(linnet, { ...tokens(rule, x, bounds[n], to), state })];
      });
      expectClose(
        [packed[0]],
        [
          concat(
            single.map(([output]) => output),
            1,
          ),
        ],
      );
      const kept = concat([0, 2, 3].map((n) => slice(packed[1], [n, 0, 0, 0], [1, -1, -1, -1])));
      expectClose([kept], [concat(single.map(([, state]) => state))]);
      const empty = slice(packed[1], [1, 0, 0, 0], [1, -1, -1, -1]);
      expect(empty.dataSync()).toEqual(slice(states, [1, 0, 0, 0], [1, -1, -1, -1]).dataSync());
    });
  });

  const gate = rule.names.find((name) => name.startsWith('g'));
  if (gate !== undefined)
    it('stays finite and right for decays of -80 and of 0', () => {
      tidy(() => {
        const x = inputsOf(rule, { B: 1, T: 50, H: 1, G: 1, K: 16, V: 16 });
        const size = x[gate].size;
        for (const period of [1, 3, 7]) {
          const values = Float32Array.from({ length: size }, (_, i) => (i % period === 0 ? -80 : 0));
          const extreme: Tensors = { ...x, [gate]: tensor(values, x[gate].shape) };
          const inputs = Object.fromEntries([...rule.names, 'state'].map((name) => [name, extreme[name]]));
          expectClose(call(linnet, inputs), call(reference, inputs));
          const c = { id: '', inputs: {}, call: () => [], differentiable: Object.keys(inputs) };
          const [actual, expected] = [linnet, reference].map((ops) =>
            gradientsOf(c, inputs, (t) => call(ops, t)),
          );
          for (const name of Object.keys(inputs)) {
            expect(actual[name].every(Number.isFinite), `d${name}`).toBe(true);
            // where all decays are e^-80 the gradient of the first state is far below the smallest float
            if (period > 1 || (name !== 'state' && name !== gate))
              expect(deviation(actual[name], expected[name]).r, `d${name}`).toBeLessThan(DELTA_RULE.gradient);
          }
        }
      });
    });
});

describe('special cases', () => {
  const sizes = { B: 1, T: 40, H: 2, G: 1, K: 16, V: 16 };
  const x = inputsOf(
    { names: ['q', 'k', 'v', 'p', 'g', 'gk', 'beta'], call: rules.kda.call, grouped: true },
    sizes,
  );
  const { q, k, v, g, beta, state } = x;
  const options = { initialState: state, outputFinalState: true } as const;

  it('a gate of zero is no gate', () => {
    tidy(() => {
      const plain = listOf(linnet.deltaRule(q, k, v, beta, options));
      const scalar = linnet.gatedDeltaRule(q, k, v, zeros([1, 40, 2]), beta, options);
      const vector = linnet.kda(q, k, v, zeros([1, 40, 2, 16]), beta, options);
      expectClose(listOf(scalar), plain, { r: 0, m: 0, gradient: 0 });
      expectClose(listOf(vector), plain, { r: 0, m: 0, gradient: 0 });
    });
  });

  it('the same decay in every channel is one decay', () => {
    tidy(() => {
      const spread = tensor(
        Float32Array.from({ length: g.size * 16 }, (_, i) => g.dataSync()[Math.floor(i / 16)]),
        [1, 40, 2, 16],
      );
      const expected = listOf(linnet.gatedDeltaRule(q, k, v, g, beta, options));
      expectClose(listOf(linnet.kda(q, k, v, spread, beta, options)), expected);
    });
  });

  it('beta 0 is pure decay', () => {
    tidy(() => {
      const none = zeros([1, 40, 2]);
      const { finalState } = linnet.gatedDeltaRule(q, k, v, g, none, options);
      const logs = g.dataSync();
      const expected = state.dataSync().map((s, i) => {
        const head = Math.floor(i / 256);
        let sum = 0;
        for (let t = 0; t < 40; t++) sum += logs[t * 2 + head];
        return s * Math.exp(sum);
      });
      expectClose([finalState], [tensor(expected, state.shape)]);
    });
  });

  it('beta 1 stores what was written', () => {
    tidy(() => {
      const { output } = linnet.deltaRule(k, k, v, ones([1, 40, 2]), { ...options, scale: 1 });
      expectClose([output], [v]);
    });
  });

  it('one Householder step is the gated delta rule', () => {
    tidy(() => {
      const product = linnet.gatedDeltaProduct(q, k, v, g, beta, options);
      expectClose(listOf(product), listOf(linnet.gatedDeltaRule(q, k, v, g, beta, options)), {
        r: 0,
        m: 0,
        gradient: 0,
      });
    });
  });

  it('DPLR and RWKV-7 without decay are IPLR', () => {
    tidy(() => {
      const a = k;
      const b = x.p;
      const none = zeros([1, 40, 2, 16]);
      const identity = listOf(linnet.iplrDeltaRule(q, k, v, a, b, options));
      const diagonal = linnet.dplrDeltaRule(q, k, v, a, b, none, options);
      expectClose(listOf(diagonal), identity, { r: 0, m: 0, gradient: 0 });
      const seven = linnet.rwkv7(q, none, k, v, a, b, { ...options, scale: 0.25 });
      expectClose(listOf(seven), identity, { r: 0, m: 0, gradient: 0 });
    });
  });

  it('the delta rule is an IPLR rule', () => {
    tidy(() => {
      const written = tensor(
        k.dataSync().map((value, i) => value * beta.dataSync()[Math.floor(i / 16)]),
        k.shape,
      );
      const negative = tensor(
        written.dataSync().map((value) => -value),
        k.shape,
      );
      const expected = listOf(linnet.deltaRule(q, k, v, beta, options));
      expectClose(listOf(linnet.iplrDeltaRule(q, written, v, k, negative, options)), expected);
    });
  });

  it('long sequences stay within bounds', () => {
    tidy(() => {
      for (const name of ['deltaRule', 'gatedDeltaRule', 'kda', 'rwkv7']) {
        const rule = rules[name];
        const long = inputsOf(rule, { B: 1, T: 8192, H: 1, G: 1, K: 8, V: 8 });
        const [actual, expected] = [linnet, reference].map((ops) => listOf(rule.call(ops, long, WITH_STATE)));
        expectClose(actual, expected);
      }
    });
  });
});

describe('errors', () => {
  const x = inputsOf(rules.gatedDeltaRule, { B: 1, T: 6, H: 2, G: 1, K: 4, V: 4 });
  const { q, k, v, g, beta } = x;

  it('name the op, the argument, what came and what was expected', () => {
    expect(() => linnet.gatedDeltaRule(q, k, v, g, zeros([1, 5, 2]))).toThrow(
      'gatedDeltaRule: beta has shape [1,5,2]; expected [B, T, HV] = [1,6,2] (B from q, T from q, HV from v)',
    );
    expect(() => linnet.kda(q, k, v, g, beta)).toThrow('kda: g has shape [1,6,2]; expected [B, T, HV, K]');
    expect(() => linnet.deltaRule(q, k, zeros([1, 6, 3, 4]), zeros([1, 6, 3]))).toThrow(
      'deltaRule: HV = 3 must be a multiple of H = 2',
    );
    expect(() => linnet.deltaRule(q, k, v, beta, { cuSeqlens: [0, 4, 3, 6] })).toThrow(
      'deltaRule: cuSeqlens is [0,4,3,6]; expected ascending bounds from 0 to T = 6',
    );
    expect(() => linnet.deltaRule(q, k, v, beta, { cuSeqlens: tensor([0, 6]) })).toThrow(
      'deltaRule: cuSeqlens must be an int32 tensor [N + 1] or an array; got float32 [2]',
    );
    expect(() => linnet.deltaRule(q, k, v, beta, { scale: Number.NaN })).toThrow('deltaRule: scale');
    expect(() => linnet.deltaRule(q, k, v, beta, { initialState: zeros([2, 2, 4, 4]) })).toThrow(
      'deltaRule: initialState has shape [2,2,4,4]',
    );
    expect(() => linnet.gatedDeltaProduct(q, k, v, g, beta, { numHouseholder: 2 })).toThrow(
      'gatedDeltaProduct: k has shape [1,6,2,4]',
    );
    expect(() => linnet.kdaGate(x.q, zeros([2]), undefined, { lowerBound: 1 })).toThrow(
      'kdaGate: lowerBound must be a negative number; got 1',
    );
  });
});
