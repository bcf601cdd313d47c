import { concat, gather, reverse, slice, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LINEAR } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64, gradientsOf } from '../../src/catalog/numerics';
import type { InputSpec, Tensors } from '../../src/catalog/types';
import type { AdditiveOptions, Recurrent } from '../../src/linear';
import { defineAdditive } from '../../src/linear/additive';
import { asReference } from '../../src/op/define';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { damagedBlocks } from '../guard';

type Ops = typeof linnet;
type Options = AdditiveOptions & { outputFinalState: true };
interface Rule {
  /** The inputs it takes, of those `inputsOf` makes, in order. */
  names: readonly string[];
  call(ops: Ops, x: Tensors, options: Options): Recurrent;
}

const rules: Record<string, Rule> = {
  linearAttention: {
    names: ['q', 'k', 'v'],
    call: (ops, { q, k, v }, options) => ops.linearAttention(q, k, v, options),
  },
  retention: {
    names: ['q', 'k', 'v'],
    call: (ops, { q, k, v }, options) => ops.retention(q, k, v, options),
  },
  simpleGla: {
    names: ['q', 'k', 'v', 'g'],
    call: (ops, { q, k, v, g }, options) => ops.simpleGla(q, k, v, g, options),
  },
  gla: {
    names: ['q', 'k', 'v', 'gk'],
    call: (ops, { q, k, v, gk }, options) => ops.gla(q, k, v, gk, options),
  },
  rwkv6: {
    names: ['q', 'k', 'v', 'gk', 'u'],
    call: (ops, { q, k, v, gk, u }, options) => ops.rwkv6(q, k, v, gk, u, options),
  },
};

interface Sizes {
  B?: number;
  T: number;
  H?: number;
  G?: number;
  K: number;
  V: number;
}

function inputsOf({ names }: Rule, { B = 1, T, H = 1, G = 1, K, V }: Sizes, seed = 42): Tensors {
  const HV = H * G;
  const all: Record<string, InputSpec> = {
    q: { shape: [B, T, H, K] },
    k: { shape: [B, T, H, K] },
    v: { shape: [B, T, HV, V] },
    g: { shape: [B, T, HV], draw: 'logSigmoid' },
    gk: { shape: [B, T, HV, K], draw: 'logSigmoid' },
    u: { shape: [H, K] },
    state: { shape: [B, HV, K, V] },
  };
  return drawInputs(Object.fromEntries([...names, 'state'].map((name) => [name, all[name]])), seed);
}

/** The recurrence itself, with all that its kernels can do. */
const groups = defineAdditive('additiveOfGroups');

const listOf = ({ output, finalState }: Recurrent) => [output, finalState];
const WITH_STATE = { outputFinalState: true } as const;
const EXACT = { r: 0, m: 0, gradient: 0 };

function expectClose(actual: readonly Tensor[], expected: readonly Tensor[], bounds = LINEAR): void {
  actual.forEach((value, i) => {
    expect(value.shape).toEqual(expected[i].shape);
    const { r, m } = deviation(float64(value), float64(expected[i]));
    expect(r, `r of output ${i}`).toBeLessThanOrEqual(bounds.r);
    expect(m, `m of output ${i}`).toBeLessThanOrEqual(bounds.m);
  });
}

/** The tokens [from, to) of every input that has tokens. */
function tokens(rule: Rule, x: Tensors, from: number, to: number): Record<string, Tensor> {
  return Object.fromEntries(
    rule.names.map((name) => {
      if (name === 'u') return [name, x[name]];
      const begin = x[name].shape.map((_, axis) => (axis === 1 ? from : 0));
      const size = x[name].shape.map((n, axis) => (axis === 1 ? to - from : n));
      return [name, slice(x[name], begin, size)];
    }),
  );
}

describe.each(Object.entries(rules))('%s', (_, rule) => {
  const call = (ops: Ops, x: Tensors, options: AdditiveOptions = {}) =>
    listOf(rule.call(ops, x, { initialState: x.state, ...options, ...WITH_STATE }));
  const gradients = (ops: Ops, x: Tensors, options?: AdditiveOptions) =>
    gradientsOf({ id: '', inputs: {}, call: () => [], differentiable: Object.keys(x) }, x, (t) =>
      call(ops, t, options),
    );
  function expectGradients(x: Tensors, options?: AdditiveOptions, skip: readonly string[] = []): void {
    const [actual, expected] = [linnet, reference].map((ops) => gradients(ops, x, options));
    for (const name of Object.keys(x)) {
      expect(actual[name].every(Number.isFinite), `d${name}`).toBe(true);
      if (skip.includes(name)) continue;
      expect(deviation(actual[name], expected[name]).r, `d${name}`).toBeLessThan(LINEAR.gradient);
    }
  }

  it('equals its reference over shapes', () => {
    const size = fc.constantFrom(1, 3, 4, 5, 8, 12, 17, 24, 40);
    const sizes = fc.record({
      B: fc.integer({ min: 1, max: 2 }),
      T: fc.constantFrom(1, 2, 5, 8, 9, 15, 16, 17, 31, 33, 50),
      H: fc.integer({ min: 1, max: 2 }),
      G: fc.integer({ min: 1, max: 3 }),
      K: size,
      V: size,
    });
    fc.assert(
      fc.property(sizes, fc.boolean(), fc.integer({ min: 0, max: 1000 }), (shape, reverse, seed) => {
        tidy(() => {
          const x = inputsOf(rule, shape, seed);
          expectClose(call(linnet, x, { reverse }), call(reference, x, { reverse }));
        });
      }),
      { numRuns: 25, seed: 3 },
    );
  });

  it.each([
    { B: 2, T: 17, H: 2, G: 2, K: 9, V: 13 },
    { T: 70, G: 3, K: 24, V: 8 },
    { B: 2, T: 33, H: 2, G: 6, K: 5, V: 12 },
    { T: 70, H: 2, K: 8, V: 40 },
    { T: 1, K: 64, V: 64 },
    { T: 63, K: 1, V: 1 },
    { B: 3, T: 105, G: 2, K: 80, V: 5 },
  ])('has the gradients of its reference at %j', (shape) => {
    tidy(() => {
      for (const reverse of [false, true]) expectGradients(inputsOf(rule, shape), { reverse });
    });
  });

  it('writes nowhere but to its outputs, and reads no scratch it has not written', () => {
    for (const shape of [
      { B: 2, T: 37, H: 2, G: 2, K: 8, V: 16 },
      { B: 2, T: 20, H: 2, G: 5, K: 8, V: 4 },
      { T: 7, K: 5, V: 3 },
      { T: 300, K: 13, V: 21 },
    ]) {
      const x = inputsOf(rule, shape);
      const expected = gradients(linnet, x);
      let actual: typeof expected = {};
      const damaged = damagedBlocks(() => {
        actual = gradients(linnet, x);
        tidy(() => {
          rule.call(linnet, x, WITH_STATE);
        });
      });
      expect(damaged).toBe(0);
      expect(actual).toEqual(expected);
    }
  });

  it.each([1, 63, 64, 65, 1000, 8192])('equals its reference at T = %i', (T) => {
    tidy(() => {
      const x = inputsOf(rule, { T, K: 24, V: 8 });
      expectClose(call(linnet, x), call(reference, x));
    });
  });

  it.each([8, 24, 40, 64, 80, 128, 256])('equals its reference at K = %i and another V', (K) => {
    tidy(() => {
      for (const V of [8, K === 80 ? 128 : 80]) {
        for (const T of [3, 37]) {
          const x = inputsOf(rule, { T, K, V });
          expectClose(call(linnet, x), call(reference, x));
        }
      }
    });
  });

  it('may be split anywhere and carry its state', () => {
    tidy(() => {
      const T = 41;
      const x = inputsOf(rule, { B: 2, T, H: 2, K: 16, V: 24 });
      const whole = call(linnet, x);
      for (const at of [1, 7, 16, 40]) {
        const first = call(linnet, { ...tokens(rule, x, 0, at), state: x.state });
        const rest = call(linnet, { ...tokens(rule, x, at, T), state: first[1] });
        expectClose([concat([first[0], rest[0]], 1), rest[1]], whole);
      }
    });
  });

  it('takes one token after another', () => {
    tidy(() => {
      const T = 40;
      const x = inputsOf(rule, { T, H: 2, G: 2, K: 16, V: 12 });
      let state = x.state;
      const outputs = Array.from({ length: T }, (_, t) => {
        const [output, next] = call(linnet, { ...tokens(rule, x, t, t + 1), state });
        state = next;
        return output;
      });
      expectClose([concat(outputs, 1), state], call(linnet, x));
    });
  });

  it('in reverse is itself on the flipped sequence', () => {
    tidy(() => {
      for (const T of [6, 45]) {
        const x = inputsOf(rule, { B: 2, T, H: 2, K: 12, V: 9 });
        const flip = (t: Tensor) => reverse(t, 1);
        const flipped = Object.fromEntries(
          rule.names.map((name) => [name, name === 'u' ? x.u : flip(x[name])]),
        );
        const [output, state] = call(linnet, { ...flipped, state: x.state });
        expectClose(call(linnet, x, { reverse: true }), [flip(output), state], EXACT);
      }
    });
  });

  it('does packed sequences as one by one', () => {
    tidy(() => {
      const bounds = [0, 5, 5, 38, 39];
      const x = inputsOf(rule, { T: 39, H: 2, K: 8, V: 8 });
      const states = drawInputs({ h: { shape: [4, ...x.state.shape.slice(1)] } }).h;
      const stateOf = (from: Tensor, n: number) => slice(from, [n, 0, 0, 0], [1, -1, -1, -1]);
      for (const reverse of [false, true]) {
        const options = { cuSeqlens: tensor(bounds, [5], 'int32'), initialState: states, reverse };
        const [output, finalStates] = call(linnet, x, options);
        const single = [0, 2, 3].map((n) => {
          const part = tokens(rule, x, bounds[n], bounds[n + 1]);
          return call(linnet, { ...part, state: stateOf(states, n) }, { reverse });
        });
        const kept = concat([0, 2, 3].map((n) => stateOf(finalStates, n)));
        const expected = [
          concat(
            single.map(([o]) => o),
            1,
          ),
          concat(single.map(([, state]) => state)),
        ];
        expectClose([output, kept], expected);
        expect(stateOf(finalStates, 1).dataSync()).toEqual(stateOf(states, 1).dataSync());
      }
    });
  });

  it('has no tokens and returns the state it was given', () => {
    tidy(() => {
      const x = inputsOf(rule, { B: 2, T: 0, H: 2, K: 4, V: 5 });
      const [output, state] = call(linnet, x);
      expect(output.shape).toEqual([2, 0, 2, 5]);
      expectClose([state], [x.state], EXACT);
    });
  });

  const gate = rule.names.find((name) => name.startsWith('g'));
  if (gate !== undefined)
    it('stays finite and right for decays of -80 and of 0', () => {
      tidy(() => {
        const x = inputsOf(rule, { T: 50, K: 16, V: 16 });
        const size = x[gate].size;
        for (const period of [1, 3, 7, 50]) {
          const values = Float32Array.from({ length: size }, (_, i) => (i % period === 0 ? -80 : 0));
          const extreme: Tensors = { ...x, [gate]: tensor(values, x[gate].shape) };
          expectClose(call(linnet, extreme), call(reference, extreme));
          // where all decays are e^-80 the gradient of the first state is far below the smallest float; with a bonus,
          // that of the gates is far below the rounding of what neighbours have without any
          expectGradients(extreme, {}, period > 1 ? [] : x.u ? ['state', gate] : ['state']);
        }
      });
    });
});

describe('special cases', () => {
  const sizes = { T: 40, H: 2, G: 2, K: 16, V: 16 };
  const { q, k, v, g, gk, u, state } = inputsOf(
    { names: ['q', 'k', 'v', 'g', 'gk', 'u'], call: rules.gla.call },
    sizes,
  );
  const options = { initialState: state, outputFinalState: true } as const;

  it('the same decay in every channel is one decay', () => {
    tidy(() => {
      const spread = tensor(
        Float32Array.from({ length: gk.size }, (_, i) => g.dataSync()[Math.floor(i / 16)]),
        gk.shape,
      );
      const expected = listOf(linnet.simpleGla(q, k, v, g, options));
      expectClose(listOf(linnet.gla(q, k, v, spread, options)), expected);
    });
  });

  it('a gate of zero is no gate', () => {
    tidy(() => {
      const plain = listOf(linnet.linearAttention(q, k, v, options));
      expectClose(listOf(linnet.simpleGla(q, k, v, zeros(g.shape), options)), plain, EXACT);
      expectClose(listOf(linnet.gla(q, k, v, zeros(gk.shape), options)), plain);
    });
  });

  it('RWKV-6 without a bonus reads the state before the token', () => {
    tidy(() => {
      const none = zeros(u.shape);
      const { output } = linnet.rwkv6(q, k, v, gk, none, options);
      const first = linnet.rwkv6(
        slice(q, [0, 0, 0, 0], [1, 1, 2, 16]),
        slice(k, [0, 0, 0, 0], [1, 1, 2, 16]),
        slice(v, [0, 0, 0, 0], [1, 1, 4, 16]),
        slice(gk, [0, 0, 0, 0], [1, 1, 4, 16]),
        none,
        options,
      );
      expectClose([slice(output, [0, 0, 0, 0], [1, 1, 4, 16])], [first.output]);
    });
  });
});

describe('query heads that share a state', () => {
  const repeated = (x: Tensor, times: number, axis: number) =>
    gather(
      x,
      Array.from({ length: x.shape[axis] * times }, (_, i) => Math.floor(i / times)),
      axis,
    );
  /** The gradient of heads from those of their copies. */
  const summed = (values: Float64Array, shape: number[], times: number, axis: number) => {
    const D = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
    return Float64Array.from({ length: values.length / times }, (_, i) => {
      const first = Math.floor(i / D) * times * D + (i % D);
      return Array.from({ length: times }, (_, r) => values[first + r * D]).reduce((a, b) => a + b);
    });
  };

  it.each([
    { T: 21, group: 2, options: {} },
    { T: 7, group: 3, options: { reverse: true } },
    { T: 70, group: 3, options: { cuSeqlens: [0, 3, 3, 40, 70] } },
    { T: 70, group: 2, options: { cuSeqlens: [0, 33, 64, 70], reverse: true } },
  ])('equal, in gsa, slots repeated for each: $T tokens, groups of $group, $options', (sizes) => {
    const { T, group, options } = sizes;
    const N = (options.cuSeqlens?.length ?? 2) - 1;
    const x = drawInputs({
      q: { shape: [1, T, 2 * group, 9] },
      k: { shape: [1, T, 2, 9] },
      v: { shape: [1, T, 2, 12] },
      s: { shape: [1, T, 2, 7], draw: 'sigmoid' },
      g: { shape: [1, T, 2, 7], draw: 'logSigmoid' },
      hk: { shape: [N, 2, 9, 7] },
      hv: { shape: [N, 2, 7, 12] },
    });
    const axis = (name: string) => (name.startsWith('h') ? 1 : 2);
    tidy(() => {
      const own = Object.fromEntries(
        Object.entries(x).map(([name, y]) => [name, name === 'q' ? y : repeated(y, group, axis(name))]),
      );
      const call = ({ q, k, v, s, g, hk, hv }: Tensors) => {
        const given = { ...options, initialState: [hk, hv], outputFinalState: true } as const;
        const { output, finalState } = linnet.gsa(q, k, v, s, g, given);
        return [output, ...finalState];
      };
      const [output, ...states] = call(x);
      expectClose([output, ...states.map((state) => repeated(state, group, 1))], call(own), EXACT);

      // states that are read once in one call are read by each copy in the other
      const outputs = { id: '', inputs: {}, call: () => [], differentiable: Object.keys(x) };
      const shared = gradientsOf(outputs, x, (y) => [call(y)[0]]);
      const apart = gradientsOf(outputs, own, (y) => [call(y)[0]]);
      for (const [name, { shape }] of Object.entries(x)) {
        const expected = name === 'q' ? apart.q : summed(apart[name], shape, group, axis(name));
        expect(deviation(shared[name], expected).r, `d${name}`).toBeLessThan(LINEAR.gradient);
      }
    });
  });

  it.each(['none', 'token', 'channel', 'head', 'bonus'])(
    'have the values of the reference: gate %s',
    (gate) => {
      const { op } = groups;
      const sizes = fc.record({
        T: fc.constantFrom(1, 5, 16, 37),
        G: fc.integer({ min: 1, max: 5 }),
        readers: fc.integer({ min: 1, max: 3 }),
        K: fc.constantFrom(3, 8, 17),
        V: fc.constantFrom(5, 16, 21),
      });
      fc.assert(
        fc.property(sizes, fc.boolean(), ({ T, G, readers, K, V }, reverse) => {
          const perChannel = gate === 'channel' || gate === 'bonus';
          const x = drawInputs({
            q: { shape: [2, T, 2 * readers, K] },
            k: { shape: [2, T, 2, K] },
            v: { shape: [2, T, 2 * G, V] },
            ...(gate === 'token' ? { g: { shape: [2, T, 2 * G], draw: 'logSigmoid' } } : {}),
            ...(perChannel ? { g: { shape: [2, T, 2 * G, K], draw: 'logSigmoid' } } : {}),
            ...(gate === 'bonus' ? { u: { shape: [2, K] } } : {}),
            initialState: { shape: [2, 2 * G, K, V] },
          } as Record<string, InputSpec>);
          const logDecay = gate === 'head' ? Array.from({ length: 2 * G }, (_, i) => -0.1 * i) : undefined;
          const attrs = { scale: 0.6, finalState: true, offsets: [0, T, 2 * T], reverse, logDecay };
          const call = (y: Tensors) => op.run(y, attrs);
          const differentiable = { id: '', inputs: {}, call: () => [], differentiable: Object.keys(x) };
          tidy(() => {
            expectClose(call(x), asReference(call)(x));
            const actual = gradientsOf(differentiable, x, call);
            const expected = gradientsOf(differentiable, x, asReference(call));
            for (const name of Object.keys(x))
              expect(deviation(actual[name], expected[name]).r, `d${name}`).toBeLessThan(LINEAR.gradient);
          });
        }),
        { numRuns: 12, seed: 5 },
      );
    },
  );

  it('are a multiple of the heads of slots', () => {
    const x = drawInputs({ q: { shape: [1, 5, 3, 4] }, k: { shape: [1, 5, 2, 4] } });
    expect(() => linnet.gsa(x.q, x.k, x.k, x.k, x.k)).toThrow('gsa: HQ = 3 must be a multiple of H = 2');
  });
});

describe('linear recurrence', () => {
  const x = drawInputs({
    q: { shape: [1, 20, 2, 8] },
    k: { shape: [1, 20, 2, 8], draw: 'unit' },
    v: { shape: [1, 20, 2, 8] },
    g: { shape: [1, 20, 2], draw: 'logSigmoid' },
    gk: { shape: [1, 20, 2, 8], draw: 'logSigmoid' },
    beta: { shape: [1, 20, 2], draw: 'sigmoid' },
    a: { shape: [1, 20, 2, 8], draw: 'unit' },
    b: { shape: [1, 20, 2, 8], scale: 0.2 },
    u: { shape: [2, 8] },
  });
  const { q, k, v, g, gk, beta, a, b, u } = x;
  const { linearRecurrence } = linnet;

  it.each<[string, () => Tensor, () => Tensor]>([
    ['linearAttention', () => linearRecurrence(q, k, v), () => linnet.linearAttention(q, k, v)],
    ['simpleGla', () => linearRecurrence(q, k, v, { g }), () => linnet.simpleGla(q, k, v, g)],
    ['gla', () => linearRecurrence(q, k, v, { g: gk }), () => linnet.gla(q, k, v, gk)],
    ['rwkv6', () => linearRecurrence(q, k, v, { g: gk, u }), () => linnet.rwkv6(q, k, v, gk, u)],
    [
      'deltaRule',
      () => linearRecurrence(q, k, v, { update: 'delta', beta }),
      () => linnet.deltaRule(q, k, v, beta),
    ],
    [
      'gatedDeltaRule',
      () => linearRecurrence(q, k, v, { update: 'delta', g, beta }),
      () => linnet.gatedDeltaRule(q, k, v, g, beta),
    ],
    [
      'kda',
      () => linearRecurrence(q, k, v, { update: 'delta', g: gk, beta }),
      () => linnet.kda(q, k, v, gk, beta),
    ],
    [
      'iplrDeltaRule',
      () => linearRecurrence(q, k, v, { update: 'generalizedDelta', a, b }),
      () => linnet.iplrDeltaRule(q, k, v, a, b),
    ],
    [
      'dplrDeltaRule',
      () => linearRecurrence(q, k, v, { update: 'generalizedDelta', a, b, g: gk }),
      () => linnet.dplrDeltaRule(q, k, v, a, b, gk),
    ],
  ])('is %s', (_, unified, named) => {
    tidy(() => expectClose([unified()], [named()], EXACT));
  });

  it('says what it misses and what has no place', () => {
    expect(() => linearRecurrence(q, k, v, { update: 'delta' })).toThrow(
      "linearRecurrence: update 'delta' needs options.beta",
    );
    expect(() => linearRecurrence(q, k, v, { beta })).toThrow(
      "linearRecurrence: update 'additive' takes no beta",
    );
    expect(() => linearRecurrence(q, k, v, { g, u })).toThrow(
      "linearRecurrence: u needs update 'additive' and g [B, T, HV, K]",
    );
  });
});

describe('errors', () => {
  const { q, k, v, g, gk } = inputsOf(
    { names: ['q', 'k', 'v', 'g', 'gk'], call: rules.gla.call },
    { T: 6, H: 2, K: 4, V: 4 },
  );

  it('name the op, the argument, what came and what was expected', () => {
    expect(() => linnet.simpleGla(q, k, v, zeros([1, 5, 2]))).toThrow(
      'simpleGla: g has shape [1,5,2]; expected [B, T, HV] = [1,6,2] (B from q, T from q, HV from v)',
    );
    expect(() => linnet.gla(q, k, v, g)).toThrow('gla: g has shape [1,6,2]; expected [B, T, HV, K]');
    expect(() => linnet.gla(q, k, zeros([1, 6, 3, 4]), zeros([1, 6, 3, 4]))).toThrow(
      'gla: HV = 3 must be a multiple of H = 2',
    );
    expect(() => linnet.simpleGla(q, k, v, g, { cuSeqlens: [0, 4, 3, 6] })).toThrow(
      'simpleGla: cuSeqlens is [0,4,3,6]; expected ascending bounds from 0 to T = 6',
    );
    expect(() => linnet.rwkv6(q, k, v, gk, zeros([4]))).toThrow('rwkv6: u has shape [4]; expected [H, K]');
    expect(() => linnet.gla(q, k, v, gk, { initialState: zeros([2, 2, 4, 4]) })).toThrow(
      'gla: initialState has shape [2,2,4,4]',
    );
  });
});
