import {
  concat,
  gather,
  grads,
  mul,
  ones,
  slice,
  type Tensor,
  tensor,
  tensor1d,
  tidy,
  zeros,
} from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DELTA_RULE, SOFTMAX_ATTENTION } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64, gradientsOf } from '../../src/catalog/numerics';
import type { InputSpec, Tensors } from '../../src/catalog/types';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { damagedBlocks } from '../guard';

type Ops = typeof linnet;
interface Sizes {
  B: number;
  T: number;
  H: number;
  K: number;
  V: number;
}
interface Memory {
  /** Inputs along the sequence, shared ones and states. */
  tokens(sizes: Sizes): Record<string, InputSpec>;
  shared?(sizes: Sizes): Record<string, InputSpec>;
  states?(sizes: Sizes): Record<string, InputSpec>;
  /** Output and final states, in the order of `states`. */
  call(ops: Ops, x: Tensors, options: { cuSeqlens?: number[] }): Tensor[];
  /** A sequence may be split at multiples of it. */
  split: number;
  /** How many tokens are a long sequence to its reference; default 500. */
  long?: number;
}

const CHUNK = 4;
const memoryTokens = ({ B, T, H, K }: Sizes) => ({
  q: { shape: [B, T, H, K] },
  k: { shape: [B, T, H, K], draw: 'unit' as const },
  v: { shape: [B, T, H, K] },
});
const norm = ({ H, K }: Sizes) => ({
  w: { shape: [H, K], scale: 0.2, shift: 1 },
  b: { shape: [H, K], scale: 0.2 },
});

const memories: Record<string, Memory> = {
  mLstm: {
    tokens: ({ B, T, H, K, V }) => ({
      q: { shape: [B, T, H, K] },
      k: { shape: [B, T, H, K] },
      v: { shape: [B, T, H, V] },
      i: { shape: [B, T, H] },
      f: { shape: [B, T, H], shift: 2 },
    }),
    states: ({ B, H, K, V }) => ({
      c: { shape: [B, H, K, V] },
      n: { shape: [B, H, K] },
      m: { shape: [B, H] },
    }),
    call: (ops, { q, k, v, i, f, c, n, m }, options) => {
      const initialState = c && { c, n, m };
      const result = ops.mLstm(q, k, v, i, f, { ...options, initialState, outputFinalState: true });
      return [result.output, result.finalState.c, result.finalState.n, result.finalState.m];
    },
    split: 1,
  },
  tttLinear: {
    tokens: (sizes) => ({
      ...memoryTokens(sizes),
      eta: { shape: [sizes.B, sizes.T, sizes.H, 1], draw: 'sigmoid', scale: 0.1 },
    }),
    shared: norm,
    states: ({ B, H, K }) => ({ state: { shape: [B, H, K, K] }, bias: { shape: [B, H, 1, K] } }),
    call: (ops, { q, k, v, w, b, eta, state, bias }, options) => {
      const result = ops.tttLinear(q, k, v, w, b, eta, {
        ...options,
        initialState: state,
        initialStateBias: bias,
        outputFinalState: true,
        chunkSize: CHUNK,
      });
      return [result.output, result.finalState, result.finalStateBias];
    },
    split: CHUNK,
  },
  titansLinear: {
    tokens: (sizes) => {
      const shape = [sizes.B, sizes.T, sizes.H, 1];
      return {
        ...memoryTokens(sizes),
        theta: { shape, scale: 0.001, shift: 0.002 },
        alpha: { shape, draw: 'sigmoid', shift: -2 },
        eta: { shape, draw: 'sigmoid' },
      };
    },
    shared: norm,
    states: ({ B, H, K }) => ({ state: { shape: [B, H, K, K] }, momentum: { shape: [B, H, K, K] } }),
    call: (ops, { q, k, v, w, b, theta, alpha, eta, state, momentum }, options) => {
      const result = ops.titansLinear(q, k, v, w, b, theta, alpha, eta, {
        ...options,
        initialState: state,
        initialMomentum: momentum,
        outputFinalState: true,
        chunkSize: CHUNK,
        eps: 0.1,
      });
      return [result.output, result.finalState, result.finalMomentum];
    },
    split: CHUNK,
  },
  sLstm: {
    tokens: ({ B, T, H, K }) => ({ x: { shape: [B, T, 4, H, K], scale: 2 } }),
    shared: ({ H, K }) => ({ r: { shape: [4, H, K, K], scale: 0.5 * K ** -0.5 } }),
    states: ({ B, H, K }) => ({ state: { shape: [B, 4, H, K], draw: 'sigmoid' } }),
    call: (ops, { x, r, state }, options) => {
      const result = ops.sLstm(x, r, { ...options, initialState: state, outputFinalState: true });
      return [result.output, result.finalState];
    },
    split: 1,
  },
  mesaNet: {
    tokens: ({ B, T, H, K, V }) => ({
      q: { shape: [B, T, H, K] },
      k: { shape: [B, T, H, K], draw: 'unit' },
      v: { shape: [B, T, H, V] },
      g: { shape: [B, T, H], draw: 'logSigmoid', shift: 2 },
      beta: { shape: [B, T, H], draw: 'sigmoid' },
    }),
    shared: ({ H, K }) => ({ lamb: { shape: [H, K], scale: 0.1, shift: 1 } }),
    states: ({ B, H, K, V }) => ({
      hKk: {
        shape: [B, H, K, K],
        values: Array.from({ length: B * H * K * K }, (_, i) => {
          const [row, column] = [Math.floor(i / K) % K, i % K];
          return (row === column ? 1 : 0) + Math.cos(row) * Math.cos(column);
        }),
      },
      hKv: { shape: [B, H, K, V] },
    }),
    call: (ops, { q, k, v, g, beta, lamb, hKk, hKv }, options) => {
      const result = ops.mesaNet(q, k, v, g, beta, lamb, {
        ...options,
        hKkInit: hKk,
        hKvInit: hKv,
        outputFinalState: true,
      });
      return [result.output, result.hKk, result.hKv];
    },
    split: 1,
  },
  logLinearAttention: {
    tokens: ({ B, T, H, K, V }) => ({
      q: { shape: [B, T, H, K] },
      k: { shape: [B, T, H, K] },
      v: { shape: [B, T, 2 * H, V] },
      g: { shape: [B, T, 2 * H], draw: 'logSigmoid', shift: 2 },
      levelScales: { shape: [B, T, 2 * H, 10], draw: 'sigmoid' },
    }),
    call: (ops, { q, k, v, g, levelScales }, options) => [
      ops.logLinearAttention(q, k, v, g, levelScales, options),
    ],
    split: 1,
  },
  pathAttention: {
    tokens: ({ B, T, H, K, V }) => ({
      q: { shape: [B, T, 2 * H, K] },
      k: { shape: [B, T, H, K] },
      v: { shape: [B, T, H, V] },
      w: { shape: [B, T, H, K], draw: 'unit' },
      beta: { shape: [B, T, H], draw: 'sigmoid' },
      g: { shape: [B, T, 2 * H], draw: 'logSigmoid', shift: 2 },
    }),
    call: (ops, { q, k, v, w, beta, g }, options) => [ops.pathAttention(q, k, v, w, beta, { ...options, g })],
    split: 1,
    long: 200,
  },
};

function inputsOf(memory: Memory, sizes: Sizes, seed = 42): Tensors {
  return drawInputs({ ...memory.tokens(sizes), ...memory.shared?.(sizes), ...memory.states?.(sizes) }, seed);
}

function expectClose(actual: readonly Tensor[], expected: readonly Tensor[], bounds = DELTA_RULE): void {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, i) => {
    expect(value.shape).toEqual(expected[i].shape);
    const { r, m } = deviation(float64(value), float64(expected[i]));
    expect(r, `r of output ${i}`).toBeLessThanOrEqual(bounds.r);
    expect(m, `m of output ${i}`).toBeLessThanOrEqual(bounds.m);
  });
}

/** The tokens [from, to) of every input along the sequence. */
function tokens(memory: Memory, sizes: Sizes, x: Tensors, from: number, to: number): Tensors {
  const cut = Object.keys(memory.tokens(sizes)).map((name) => {
    const begin = x[name].shape.map((_, axis) => (axis === 1 ? from : 0));
    return [
      name,
      slice(
        x[name],
        begin,
        x[name].shape.map((n, axis) => (axis === 1 ? to - from : n)),
      ),
    ];
  });
  return { ...x, ...Object.fromEntries(cut) };
}

function withoutStates(memory: Memory, sizes: Sizes, x: Tensors): Tensors {
  const states = Object.keys(memory.states?.(sizes) ?? {});
  return Object.fromEntries(Object.entries(x).filter(([name]) => !states.includes(name)));
}

function gradients(memory: Memory, ops: Ops, x: Tensors) {
  const c = { id: '', inputs: {}, call: () => [], differentiable: Object.keys(x) };
  return gradientsOf(c, x, (t) => memory.call(ops, t, {}));
}

describe.each(Object.entries(memories))('%s', (_, memory) => {
  it('equals its reference over shapes', () => {
    const sizes = fc.record({
      B: fc.integer({ min: 1, max: 2 }),
      T: fc.constantFrom(0, 1, 2, 5, 15, 16, 17, 33),
      H: fc.integer({ min: 1, max: 3 }),
      // a layer norm of two numbers is a sign, which no float32 agrees on with float64
      K: fc.constantFrom(3, 4, 5, 8, 12, 17),
      V: fc.constantFrom(1, 3, 4, 5, 8, 12, 17),
    });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 0, max: 1000 }), (shape, seed) => {
        tidy(() => {
          const x = inputsOf(memory, shape, seed);
          expectClose(memory.call(linnet, x, {}), memory.call(reference, x, {}));
        });
      }),
      { numRuns: 15, seed: 3 },
    );
  });

  it.each([
    { B: 2, T: 17, H: 2, K: 9, V: 13 },
    { B: 1, T: 40, H: 1, K: 24, V: 8 },
    { B: 1, T: 1, H: 2, K: 16, V: 16 },
  ])('has the gradients of its reference at %j', (shape) => {
    const x = inputsOf(memory, shape);
    const [actual, expected] = [linnet, reference].map((ops) => gradients(memory, ops, x));
    for (const name of Object.keys(x))
      expect(deviation(actual[name], expected[name]).r, `d${name}`).toBeLessThan(DELTA_RULE.gradient);
  });

  it('equals its reference over a long sequence and wide heads', () => {
    tidy(() => {
      const long = inputsOf(memory, { B: 1, T: memory.long ?? 500, H: 1, K: 8, V: 8 });
      expectClose(memory.call(linnet, long, {}), memory.call(reference, long, {}));
      const wide = inputsOf(memory, { B: 1, T: 9, H: 1, K: 80, V: 72 });
      expectClose(memory.call(linnet, wide, {}), memory.call(reference, wide, {}));
    });
  });

  it('writes nowhere but to its outputs, and reads no scratch it has not written', () => {
    for (const shape of [
      { B: 2, T: 37, H: 2, K: 8, V: 16 },
      { B: 1, T: 7, H: 1, K: 5, V: 3 },
    ]) {
      const x = inputsOf(memory, shape);
      const expected = gradients(memory, linnet, x);
      let actual: typeof expected = {};
      const damaged = damagedBlocks(() => {
        actual = gradients(memory, linnet, x);
        tidy(() => {
          memory.call(linnet, withoutStates(memory, shape, x), {});
        });
      });
      expect(damaged).toBe(0);
      expect(actual).toEqual(expected);
    }
  });

  it('may be split and carry its state', () => {
    const sizes = { B: 2, T: 23, H: 2, K: 8, V: 12 };
    const names = Object.keys(memory.states?.(sizes) ?? {});
    if (names.length === 0) return;
    tidy(() => {
      const x = inputsOf(memory, sizes);
      const whole = memory.call(linnet, x, {});
      for (const at of [memory.split, 3 * memory.split, 5 * memory.split]) {
        const [first, ...states] = memory.call(linnet, tokens(memory, sizes, x, 0, at), {});
        const carried = Object.fromEntries(names.map((name, i) => [name, states[i]]));
        const rest = memory.call(linnet, { ...tokens(memory, sizes, x, at, sizes.T), ...carried }, {});
        expectClose([concat([first, rest[0]], 1), ...rest.slice(1)], whole);
      }
    });
  });

  it('does packed sequences as one by one', () => {
    const sizes = { B: 1, T: 23, H: 2, K: 8, V: 8 };
    const bounds = [0, 5, 5, 22, 23];
    tidy(() => {
      const x = withoutStates(memory, sizes, inputsOf(memory, sizes));
      const [packed] = memory.call(linnet, x, { cuSeqlens: bounds });
      const single = bounds.slice(1).flatMap((to, n) => {
        const from = bounds[n];
        return from === to ? [] : memory.call(linnet, tokens(memory, sizes, x, from, to), {}).slice(0, 1);
      });
      expectClose([packed], [concat(single, 1)]);
    });
  });
});

describe('mLstm', () => {
  it.each([80, -80])('stays finite and right with gates of %i', (extreme) => {
    const sizes = { B: 1, T: 12, H: 1, K: 8, V: 8 };
    for (const gate of ['i', 'f']) {
      for (const period of [1, 3]) {
        const x = inputsOf(memories.mLstm, sizes);
        const values = x[gate].dataSync().map((value, t) => (t % period === 0 ? extreme : value));
        const given = { ...withoutStates(memories.mLstm, sizes, x), [gate]: tensor(values, x[gate].shape) };
        tidy(() => {
          const actual = memories.mLstm.call(linnet, given, {});
          for (const y of actual) expect(y.dataSync().every(Number.isFinite)).toBe(true);
          expectClose(actual.slice(0, 1), memories.mLstm.call(reference, given, {}).slice(0, 1));
        });
        for (const dx of Object.values(gradients(memories.mLstm, linnet, given)))
          expect(dx.every(Number.isFinite)).toBe(true);
      }
    }
  });

  it('equals the cell without stabilizer, h = C q / max(|n . q|, 1)', () => {
    const [T, K, V] = [9, 4, 3];
    tidy(() => {
      const x = withoutStates(
        memories.mLstm,
        { B: 1, T, H: 1, K, V },
        inputsOf(memories.mLstm, { B: 1, T, H: 1, K, V }),
      );
      const [q, k, v, i, f] = ['q', 'k', 'v', 'i', 'f'].map((name) => x[name].dataSync());
      const C = new Float64Array(K * V);
      const n = new Float64Array(K);
      const h: number[] = [];
      for (let t = 0; t < T; t++) {
        const [input, forget] = [Math.exp(i[t]), 1 / (1 + Math.exp(-f[t]))];
        let read = 0;
        for (let a = 0; a < K; a++) {
          for (let b = 0; b < V; b++)
            C[a * V + b] = forget * C[a * V + b] + input * k[t * K + a] * v[t * V + b];
          n[a] = forget * n[a] + input * k[t * K + a];
          read += (n[a] * q[t * K + a]) / Math.sqrt(K);
        }
        for (let b = 0; b < V; b++) {
          let sum = 0;
          for (let a = 0; a < K; a++) sum += (C[a * V + b] * q[t * K + a]) / Math.sqrt(K);
          h.push(sum / Math.max(Math.abs(read), 1));
        }
      }
      expectClose([memories.mLstm.call(linnet, x, {})[0]], [tensor(h, [1, T, 1, V])]);
    });
  });
});

describe('tttLinear', () => {
  it('with learning rates of 0 is a fixed model with a residual norm', () => {
    const sizes = { B: 1, T: 9, H: 1, K: 6, V: 6 };
    tidy(() => {
      const x: Tensors = { ...inputsOf(memories.tttLinear, sizes), eta: zeros([1, 9, 1, 1]) };
      const [output, state, bias] = memories.tttLinear.call(linnet, x, {});
      expectClose([state, bias], [x.state, x.bias], { r: 0, m: 0, gradient: 0 });
      const [q, S, c, w, b] = ['q', 'state', 'bias', 'w', 'b'].map((name) => x[name].dataSync());
      const expected: number[] = [];
      for (let t = 0; t < 9; t++) {
        const y = Array.from({ length: 6 }, (_, j) => {
          let sum = c[j];
          for (let i = 0; i < 6; i++) sum += (q[t * 6 + i] * S[i * 6 + j]) / Math.sqrt(6);
          return sum;
        });
        const mean = y.reduce((sum, value) => sum + value / 6, 0);
        const deviate = Math.sqrt(y.reduce((sum, value) => sum + (value - mean) ** 2 / 6, 1e-6));
        expected.push(...y.map((value, j) => value + ((value - mean) / deviate) * w[j] + b[j]));
      }
      expectClose([output], [tensor(expected, [1, 9, 1, 6])]);
    });
  });
});

describe('sLstm', () => {
  it.each([80, -80])('stays finite and right with input and forget gates of %i', (extreme) => {
    const sizes = { B: 1, T: 12, H: 1, K: 4, V: 4 };
    for (const gate of [0, 1]) {
      const { x, r } = inputsOf(memories.sLstm, sizes);
      const values = x.dataSync().map((value, at) => (Math.floor(at / 4) % 4 === gate ? extreme : value));
      const given = { x: tensor(values, x.shape), r };
      tidy(() => {
        const actual = memories.sLstm.call(linnet, given, {});
        for (const y of actual) expect(y.dataSync().every(Number.isFinite)).toBe(true);
        expectClose(actual, memories.sLstm.call(reference, given, {}));
      });
      for (const d of Object.values(gradients(memories.sLstm, linnet, given)))
        expect(d.every(Number.isFinite)).toBe(true);
    }
  });
});

describe('mesaNet', () => {
  it('by enough conjugate gradients is exact, outputs and gradients', () => {
    const x = inputsOf(memories.mesaNet, { B: 1, T: 20, H: 2, K: 12, V: 8 });
    const names = Object.keys(x);
    const c = { id: '', inputs: {}, call: () => [], differentiable: names };
    const run = (maxCgIteration?: number) => (t: Tensors) => {
      const { q, k, v, g, beta, lamb, hKk: hKkInit, hKv: hKvInit } = t;
      return linnet.mesaNet(q, k, v, g, beta, lamb, { hKkInit, hKvInit, maxCgIteration });
    };
    tidy(() => {
      expectClose([run(30)(x)], [run()(x)]);
      expectClose([run(2 ** 31)(x)], [run()(x)]);
      const few = deviation(float64(run(1)(x)), float64(run()(x)));
      expect(few.r).toBeGreaterThan(0.01);
    });
    const [iterated, exact] = [run(30), run()].map((call) => gradientsOf(c, x, call));
    for (const name of names)
      expect(deviation(iterated[name], exact[name]).r, `d${name}`).toBeLessThan(DELTA_RULE.gradient);
  });
});

describe('mixture of memories', () => {
  const [T, H, K, V, M, topK] = [45, 2, 5, 7, 4, 2];
  const x = drawInputs({
    tokens: { shape: [T, 9] },
    router: { shape: [M, 9] },
    q: { shape: [1, T, H, K] },
    k: { shape: [1, T, H, K] },
    v: { shape: [1, T, H, V] },
    g: { shape: [1, T, H], draw: 'logSigmoid' },
    beta: { shape: [1, T, H], draw: 'sigmoid' },
    states: { shape: [M, H, K, V] },
  });
  const unit = (values: number[]) => {
    const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 1e-6));
    return values.map((value) => value / norm);
  };

  it('packed by memory and read in one call is a loop over tokens and their memories', () => {
    tidy(() => {
      const logits = linnet.routerLogits(x.tokens, x.router);
      const { weights, indices } = linnet.topkRouting(logits, { topK });
      const [chosen, shares] = [indices.dataSync(), weights.dataSync()];
      const memory = Array.from({ length: M }, (_, m) => {
        return Array.from({ length: T * topK }, (_, at) => at).filter((at) => chosen[at] === m);
      });
      const cuSeqlens = [0];
      for (const own of memory) cuSeqlens.push(cuSeqlens.at(-1)! + own.length);
      const order = tensor1d(
        memory.flat().map((at) => Math.floor(at / topK)),
        'int32',
      );
      const [q, k, v, g, beta] = ['q', 'k', 'v', 'g', 'beta'].map((name) => gather(x[name], order, 1));
      const { output, finalState } = linnet.gatedDeltaRule(q, k, v, g, beta, {
        cuSeqlens,
        useQkL2norm: true,
        initialState: x.states,
        outputFinalState: true,
      });
      const packed = float64(output);
      const mixed = new Float64Array(T * H * V);
      memory.flat().forEach((at, row) => {
        for (let i = 0; i < H * V; i++)
          mixed[Math.floor(at / topK) * H * V + i] += shares[at] * packed[row * H * V + i];
      });

      const states = float64(x.states);
      const expected = new Float64Array(T * H * V);
      const data = Object.fromEntries(Object.entries(x).map(([name, given]) => [name, float64(given)]));
      const rowOf = (name: string, row: number, D: number) => [
        ...data[name].subarray(row * D, (row + 1) * D),
      ];
      for (let t = 0; t < T; t++) {
        for (let choice = 0; choice < topK; choice++) {
          for (let h = 0; h < H; h++) {
            const row = t * H + h;
            const [query, key, value] = [rowOf('q', row, K), rowOf('k', row, K), rowOf('v', row, V)];
            const [read, own] = [unit(query), unit(key)];
            const at = (chosen[t * topK + choice] * H + h) * K * V;
            for (let j = 0; j < V; j++) {
              const column = own.map((_, i) => Math.exp(data.g[row]) * states[at + i * V + j]);
              const error = value[j] - column.reduce((sum, s, i) => sum + s * own[i], 0);
              let result = 0;
              own.forEach((key, i) => {
                states[at + i * V + j] = column[i] + data.beta[row] * key * error;
                result += K ** -0.5 * states[at + i * V + j] * read[i];
              });
              expected[row * V + j] += shares[t * topK + choice] * result;
            }
          }
        }
      }
      expect(memory.every((own) => own.length > 1)).toBe(true);
      expect(deviation(mixed, expected).r).toBeLessThan(DELTA_RULE.r);
      expect(deviation(float64(finalState), states).r).toBeLessThan(DELTA_RULE.r);
    });
  });
});

describe('logLinearAttention', () => {
  it('with the same weight on every level is linear attention with decay', () => {
    const x = inputsOf(memories.logLinearAttention, { B: 1, T: 100, H: 2, K: 8, V: 12 });
    tidy(() => {
      const weights = ones(x.levelScales.shape);
      const actual = linnet.logLinearAttention(x.q, x.k, x.v, x.g, weights, { scale: 0.5 });
      const [q, k, v, g] = ['q', 'k', 'v', 'g'].map((name) => x[name].dataSync());
      const expected = new Float64Array(v.length);
      for (let head = 0; head < 4; head++) {
        const S = new Float64Array(8 * 12);
        for (let t = 0; t < 100; t++) {
          const [key, value] = [(t * 2 + Math.floor(head / 2)) * 8, (t * 4 + head) * 12];
          S.forEach((s, at) => {
            S[at] = Math.exp(g[t * 4 + head]) * s + k[key + Math.floor(at / 12)] * v[value + (at % 12)];
          });
          S.forEach((s, at) => {
            expected[value + (at % 12)] += 0.5 * q[key + Math.floor(at / 12)] * s;
          });
        }
      }
      expectClose([actual], [tensor(Float32Array.from(expected), x.v.shape)]);
    });
  });

  it('says how many levels it needs', () => {
    const x = inputsOf(memories.logLinearAttention, { B: 1, T: 9, H: 1, K: 4, V: 4 });
    expect(() => linnet.logLinearAttention(x.q, x.k, x.v, x.g, zeros([1, 9, 2, 4]))).toThrow(
      'logLinearAttention: levelScales has 4 levels; 9 tokens need 5',
    );
  });
});

describe('pathAttention', () => {
  const sizes = { B: 2, T: 37, H: 2, K: 8, V: 12 };

  it('with beta = 0 is causal attention, and attention with forget gates', () => {
    const x = inputsOf(memories.pathAttention, sizes);
    const still = zeros(x.beta.shape);
    const pairs = [
      [
        (q: Tensor, k: Tensor, v: Tensor) => linnet.pathAttention(q, k, v, x.w, still),
        (q: Tensor, k: Tensor, v: Tensor) => linnet.scaledDotProductAttention(q, k, v, { isCausal: true }),
      ],
      [
        (q: Tensor, k: Tensor, v: Tensor) =>
          linnet.pathAttention(q, k, v, x.w, still, { g: x.g, scale: 0.5 }),
        (q: Tensor, k: Tensor, v: Tensor) =>
          linnet.forgettingAttention(q, k, v, mul(x.g, 0.5), { scale: 0.5 }),
      ],
    ];
    tidy(() => {
      for (const [actual, expected] of pairs) {
        expectClose([actual(x.q, x.k, x.v)], [expected(x.q, x.k, x.v)], SOFTMAX_ATTENTION);
        const [dActual, dExpected] = [actual, expected].map((f) => grads(f)([x.q, x.k, x.v]));
        dActual.forEach((dx, i) => {
          expect(deviation(float64(dx), float64(dExpected[i])).r).toBeLessThan(SOFTMAX_ATTENTION.gradient);
        });
      }
    });
  });

  it('takes one head of size 1', () => {
    const x = inputsOf(memories.pathAttention, { B: 1, T: 18, H: 1, K: 1, V: 1 });
    tidy(() => {
      expectClose(memories.pathAttention.call(linnet, x, {}), memories.pathAttention.call(reference, x, {}));
    });
    const [actual, expected] = [linnet, reference].map((ops) => gradients(memories.pathAttention, ops, x));
    for (const name of Object.keys(x))
      expect(deviation(actual[name], expected[name]).r, `d${name}`).toBeLessThan(DELTA_RULE.gradient);
  });

  it('keeps a NaN to the queries that see it', () => {
    const x = inputsOf(memories.pathAttention, sizes);
    const output = memories.pathAttention.call(linnet, x, {})[0].dataSync();
    for (const name of ['k', 'v', 'w', 'beta', 'g']) {
      const from = 21;
      const perToken = x[name].size / (sizes.B * sizes.T);
      const values = x[name].dataSync().slice();
      values.fill(Number.NaN, from * perToken, (from + 1) * perToken);
      const [poisoned] = memories.pathAttention.call(
        linnet,
        { ...x, [name]: tensor(values, x[name].shape) },
        {},
      );
      const seen = from * 4 * sizes.V;
      expect(poisoned.dataSync().subarray(0, seen), name).toEqual(output.subarray(0, seen));
      expect(poisoned.dataSync().subarray(sizes.T * 4 * sizes.V), name).toEqual(
        output.subarray(sizes.T * 4 * sizes.V),
      );
    }
  });

  it('says what is wrong with its heads', () => {
    const x = inputsOf(memories.pathAttention, { B: 1, T: 3, H: 2, K: 4, V: 4 });
    expect(() => linnet.pathAttention(zeros([1, 3, 3, 4]), x.k, x.v, x.w, x.beta)).toThrow(
      'pathAttention: HQ = 3 must be a multiple of H = 2',
    );
    expect(() => linnet.pathAttention(x.q, x.k, x.v, x.w, x.beta, { g: zeros([1, 3, 2]) })).toThrow(
      'pathAttention: g has shape [1,3,2]; expected [B, T, HQ] = [1,3,4] (B from q, T from q, HQ from q)',
    );
  });
});

it('says what is wrong with an argument', () => {
  const x = inputsOf(memories.tttLinear, { B: 1, T: 3, H: 2, K: 4, V: 4 });
  expect(() => linnet.tttLinear(x.q, x.k, x.v, x.w, x.b, x.eta, { chunkSize: 0 })).toThrow(
    'tttLinear: chunkSize must be an integer from 1 to 65536; got 0',
  );
  expect(() => linnet.tttLinear(x.q, x.k, x.v, x.w, x.b, zeros([1, 3, 2]))).toThrow(
    'tttLinear: eta has shape [1,3,2]; expected [B, T, H, 1]',
  );
  expect(() => linnet.mLstm(x.q, x.k, x.v, zeros([1, 3, 1]), zeros([1, 3, 2]))).toThrow(
    'mLstm: i has shape [1,3,1]; expected [B, T, H] = [1,3,2] (B from q, T from q, H from q)',
  );
});
