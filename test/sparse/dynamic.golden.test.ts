import type { Tensor } from '@tensorflow/tfjs-core';
import { tidy } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { SOFTMAX_ATTENTION } from '../../src/catalog/bounds';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, type GoldenCase, golden } from '../golden';

type Tensors = Record<string, Tensor>;
type Ops = typeof linnet;

/** Outputs compared as numbers; indices are compared as sets below. */
const calls: Record<string, (ops: Ops, x: Tensors, attrs: Record<string, never>) => Tensors> = {
  nsa: (ops, { q, k, v, g_cmp, g_slc, g_swa }, { window, ...options }) => ({
    o: ops.nativeSparseAttention(q, k, v, g_cmp, g_slc, g_swa, { ...options, windowSize: window }),
  }),
  nsa_compression: (ops, { q, k_cmp, v_cmp }, options) => {
    const { output, lse } = ops.nsaCompress(q, k_cmp, v_cmp, { ...options, returnLse: true });
    return { o: output, lse };
  },
  nsa_selection: (ops, { q, k, v, block_indices }, options) => ({
    o: ops.nsaSelect(q, k, v, block_indices, options),
  }),
  moba: (ops, { q, k, v, cu_seqlens }, options) => ({
    o: ops.mobaAttention(q, k, v, { ...options, cuSeqlens: cu_seqlens }),
  }),
  dsa: (ops, { q, k, v, q_idx, k_idx, w_idx }, options) => ({
    o: ops.deepseekSparseAttention(q, k, v, q_idx, k_idx, w_idx, options),
  }),
};

const cases = golden('sparse');
const of = (...ops: string[]) =>
  cases.filter(({ op }) => ops.includes(op)).map((c) => [`${c.op} ${c.case}`, c] as const);

function sets(indices: Tensor): string[] {
  const S = indices.shape.at(-1)!;
  const values = indices.dataSync();
  return Array.from({ length: values.length / S }, (_, row) =>
    [...values.subarray(row * S, (row + 1) * S)]
      .filter((i) => i >= 0)
      .sort((a, b) => a - b)
      .join(),
  );
}

function indicesOf(ops: Ops, c: GoldenCase): [actual: Tensor, expected: Tensor] {
  const { q, k, v, k_cmp, q_idx, k_idx, w_idx } = c.in;
  if (c.op === 'dsa') {
    const options = { ...c.attrs, returnIndices: true } as const;
    return [ops.deepseekSparseAttention(q, k, v, q_idx, k_idx, w_idx, options).indices, c.out.indices];
  }
  return [ops.nsaTopK(q, k_cmp, c.attrs), c.out.block_indices];
}

describe.each([
  ['kernel', linnet, SOFTMAX_ATTENTION],
  ['reference', reference as Ops, { r: 3e-7, m: 3e-7, gradient: 3e-7 }],
] as const)('golden vectors, %s', (_, ops, bounds) => {
  it.each(of(...Object.keys(calls)))('%s', (_name, c) => {
    expectGolden(c, (inputs) => calls[c.op](ops, inputs, c.attrs), bounds);
  });

  it.each(of('nsa_topk', 'dsa'))('%s chooses the same', (_name, c) => {
    tidy(() => {
      const [actual, expected] = indicesOf(ops, c);
      expect(sets(actual)).toEqual(sets(expected));
    });
  });

  it.each(of('nsa'))('%s with the stored choice', (_name, c) => {
    tidy(() => {
      const { q, k, v, g_cmp, g_slc, g_swa } = c.in;
      const options = { ...c.attrs, windowSize: c.attrs.window } as const;
      const chosen = ops.nativeSparseAttention(q, k, v, g_cmp, g_slc, g_swa, options);
      const given = ops.nativeSparseAttention(q, k, v, g_cmp, g_slc, g_swa, {
        ...options,
        blockIndices: c.out.block_indices,
      });
      expect([...given.dataSync()]).toEqual([...chosen.dataSync()]);
    });
  });
});
