import { type LinearKernels, relaxed, simd } from '../generated/linear';
import { defineFamily } from '../op/define';

export const defineLinearOp = defineFamily<LinearKernels>('linear', { simd, relaxed });
