import { relaxed, type SparseKernels, simd } from '../generated/sparse';
import { defineFamily } from '../op/define';

export const defineSparseOp = defineFamily<SparseKernels>('sparse', { simd, relaxed });
