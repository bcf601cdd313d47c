import { relaxed, type SsmKernels, simd } from '../generated/ssm';
import { defineFamily } from '../op/define';

export const defineSsmOp = defineFamily<SsmKernels>('ssm', { simd, relaxed });
