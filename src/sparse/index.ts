export {
  type DeepseekSparseAttentionOptions,
  type DeepseekSparseAttentionResult,
  deepseekSparseAttention,
} from './deepseekSparseAttention';
export { type FlexAttentionOptions, type FlexAttentionResult, flexAttention } from './flexAttention';
export { type MobaAttentionOptions, mobaAttention } from './mobaAttention';
export {
  type NativeSparseAttentionOptions,
  type NsaCompressOptions,
  type NsaTopKOptions,
  nativeSparseAttention,
  nsaCompress,
  nsaSelect,
  nsaTopK,
} from './nativeSparseAttention';
