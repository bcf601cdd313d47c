export { type ForgettingAttentionOptions, forgettingAttention } from './forgettingAttention';
export {
  type AttentionOptions,
  type AttentionResult,
  scaledDotProductAttention,
} from './scaledDotProductAttention';
