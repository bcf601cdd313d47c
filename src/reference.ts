import { asReference } from './op/define';
import * as ops from './ops';

export const rmsNorm = asReference(ops.rmsNorm);
