export { type ForgettingAttentionOptions, forgettingAttention } from './forgettingAttention';
export { type LatentAttentionOptions, multiHeadLatentAttention } from './multiHeadLatentAttention';
export {
  type AttentionOptions,
  type AttentionResult,
  scaledDotProductAttention,
} from './scaledDotProductAttention';
