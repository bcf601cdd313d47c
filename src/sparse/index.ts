export { type AttentionMassOptions, attentionMass } from './attentionMass';
export {
  type DeepseekSparseAttentionOptions,
  type DeepseekSparseAttentionResult,
  deepseekSparseAttention,
} from './deepseekSparseAttention';
export { type FlexAttentionOptions, type FlexAttentionResult, flexAttention } from './flexAttention';
export { type Int8AttentionOptions, int8Attention, type QuantizedRows, quantizeInt8 } from './int8Attention';
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
