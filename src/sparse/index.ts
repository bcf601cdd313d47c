export { type AttentionMassOptions, attentionMass } from './attentionMass';
export {
  type LshAttentionOptions,
  lshAttention,
  type RoutingAttentionOptions,
  routingAttention,
  type SinkhornAttentionOptions,
  sinkhornAttention,
} from './clusteredAttention';
export {
  type DeepseekSparseAttentionOptions,
  type DeepseekSparseAttentionResult,
  deepseekSparseAttention,
} from './deepseekSparseAttention';
export { type FlexAttentionOptions, type FlexAttentionResult, flexAttention } from './flexAttention';
export { type Int8AttentionOptions, int8Attention, type QuantizedRows, quantizeInt8 } from './int8Attention';
export { type MemorizingAttentionOptions, memorizingAttention } from './memorizingAttention';
export { type MobaAttentionOptions, mobaAttention } from './mobaAttention';
export { type MosaAttentionOptions, mosaAttention } from './mosaAttention';
export {
  type NativeSparseAttentionOptions,
  type NsaCompressOptions,
  type NsaTopKOptions,
  nativeSparseAttention,
  nsaCompress,
  nsaSelect,
  nsaTopK,
} from './nativeSparseAttention';
export { type SageAttentionOptions, sageAttention } from './sageAttention';
