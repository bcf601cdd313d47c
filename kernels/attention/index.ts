export { attentionForward } from './forward';
export { attentionBackward } from './backward';
