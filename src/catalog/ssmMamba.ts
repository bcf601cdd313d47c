import { NORM } from './bounds';
import type { CatalogEntry } from './types';

const MAMBA2 = {
  title:
    'Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State Space Duality',
  url: 'https://arxiv.org/abs/2405.21060',
};

/** The ops of Mamba and Mamba-2. */
export const mamba: CatalogEntry[] = [
  {
    name: 'rmsNormGated',
    family: 'ssm',
    summary: 'Root mean square normalisation with a gate (Mamba-2)',
    paper: MAMBA2,
    bounds: NORM,
    cases: [
      {
        id: 'B2-T5-D64',
        inputs: { x: { shape: [2, 5, 64] }, weight: { shape: [64] }, z: { shape: [2, 5, 64] } },
        call: (ops, { x, weight, z }) => ops.rmsNormGated(x, weight, z),
      },
      {
        id: 'gate-first-groups-of-3',
        inputs: { x: { shape: [70, 12] }, weight: { shape: [12] }, z: { shape: [70, 12] } },
        call: (ops, { x, weight, z }) =>
          ops.rmsNormGated(x, weight, z, { groupSize: 3, normBeforeGate: false, eps: 0.1 }),
      },
      {
        id: 'no-weight-D7',
        inputs: { x: { shape: [3, 7] }, z: { shape: [3, 7] } },
        call: (ops, { x, z }) => ops.rmsNormGated(x, undefined, z),
      },
      {
        id: 'no-gate',
        inputs: { x: { shape: [3, 7] }, weight: { shape: [7] } },
        call: (ops, { x, weight }) => ops.rmsNormGated(x, weight),
      },
    ],
  },
];
