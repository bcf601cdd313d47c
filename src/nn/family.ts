import { type NnKernels, relaxed, simd } from '../generated/nn';
import { defineFamily } from '../op/define';

export const defineNnOp = defineFamily<NnKernels>('nn', { simd, relaxed });
