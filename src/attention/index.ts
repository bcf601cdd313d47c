export {
  type AttentionOptions,
  type AttentionResult,
  scaledDotProductAttention,
} from './scaledDotProductAttention';
