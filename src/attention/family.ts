import { type AttentionKernels, relaxed, simd } from '../generated/attention';
import { defineFamily } from '../op/define';

export const defineAttentionOp = defineFamily<AttentionKernels>('attention', { simd, relaxed });
