export { attentionForward } from './forward';
export { attentionBackward } from './backward';
export { attentionDecode, attentionMerge } from './decode';
export { forgetGradient, forgetSums } from './forget';
export { sumRows } from '../core/sumRows';
