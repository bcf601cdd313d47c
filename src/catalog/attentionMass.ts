import { SOFTMAX_ATTENTION } from './bounds';
import type { CatalogEntry } from './types';

export const attentionMass: CatalogEntry = {
  name: 'attentionMass',
  family: 'sparse',
  summary: 'How much attention falls on each key',
  paper: { title: 'H2O', url: 'https://arxiv.org/abs/2306.14048' },
  bounds: SOFTMAX_ATTENTION,
  cases: [
    {
      id: 'B2-Tq5-Tk37-Hq4-Hkv2-D8',
      inputs: { q: { shape: [2, 5, 4, 8] }, k: { shape: [2, 37, 2, 8] } },
      call: (ops, { q, k }) => ops.attentionMass(q, k),
      differentiable: [],
    },
    {
      id: 'Tq3-Tk20-length9-by-distance-D5',
      inputs: { q: { shape: [1, 3, 3, 5] }, k: { shape: [1, 20, 1, 5] } },
      call: (ops, { q, k }) => ops.attentionMass(q, k, { kvLength: 9, byDistance: true, scale: 0.7 }),
      differentiable: [],
    },
  ],
};
