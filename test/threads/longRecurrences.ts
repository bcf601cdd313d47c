import type { Case } from '../../src/catalog/types';

const [T, H, HV, K, V] = [600, 1, 3, 5, 11];
const BOUNDS = [0, 30, 30, 600];

const inputs = {
  q: { shape: [1, T, H, K] },
  k: { shape: [1, T, H, K], draw: 'unit' },
  v: { shape: [1, T, HV, V] },
  g: { shape: [1, T, HV], draw: 'logSigmoid' },
  gk: { shape: [1, T, HV, K], draw: 'logSigmoid' },
  beta: { shape: [1, T, HV], draw: 'sigmoid' },
  state: { shape: [1, HV, K, V] },
  states: { shape: [3, HV, K, V] },
  // three heads of their own, and slots whose columns decay
  qs: { shape: [1, T, HV, K] },
  ks: { shape: [1, T, HV, K] },
  s: { shape: [1, T, HV, K], draw: 'sigmoid' },
  gs: { shape: [1, T, HV, K], draw: 'logSigmoid' },
  // half as many tokens, of two steps each
  q2: { shape: [1, T / 2, H, K] },
} as const satisfies Case['inputs'];

const pick = (...names: (keyof typeof inputs)[]) =>
  Object.fromEntries(names.map((name) => [name, inputs[name]]));

/** Sequences long enough, with few enough heads, that threads hand some to each other. */
export const longRecurrences: Case[] = [
  {
    id: 'gla with a state',
    inputs: pick('q', 'k', 'v', 'gk', 'state'),
    call: (ops, { q, k, v, gk, state }) => {
      const options = { initialState: state, outputFinalState: true } as const;
      const { output, finalState } = ops.gla(q, k, v, gk, options);
      return [output, finalState];
    },
  },
  {
    id: 'simpleGla, packed and in reverse',
    inputs: pick('q', 'k', 'v', 'g', 'states'),
    call: (ops, { q, k, v, g, states }) => {
      const options = {
        initialState: states,
        cuSeqlens: BOUNDS,
        reverse: true,
        outputFinalState: true,
      } as const;
      const { output, finalState } = ops.simpleGla(q, k, v, g, options);
      return [output, finalState];
    },
  },
  {
    id: 'gatedDeltaRule, packed with states',
    inputs: pick('q', 'k', 'v', 'g', 'beta', 'states'),
    call: (ops, { q, k, v, g, beta, states }) => {
      const options = { initialState: states, cuSeqlens: BOUNDS, outputFinalState: true } as const;
      const { output, finalState } = ops.gatedDeltaRule(q, k, v, g, beta, options);
      return [output, finalState];
    },
  },
  {
    id: 'gatedDeltaProduct of two steps a token',
    inputs: pick('q2', 'k', 'v', 'beta'),
    call: (ops, { q2, k, v, beta }) =>
      ops.gatedDeltaProduct(q2, k, v, undefined, beta, { numHouseholder: 2 }),
  },
  {
    id: 'gsa',
    inputs: pick('qs', 'ks', 'v', 's', 'gs'),
    call: (ops, { qs, ks, v, s, gs }) => ops.gsa(qs, ks, v, s, gs),
  },
];
