export { attentionForward } from './forward';
export { attentionBackward } from './backward';
export { attentionDecode, attentionMerge } from './decode';
