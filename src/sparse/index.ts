export { type FlexAttentionOptions, type FlexAttentionResult, flexAttention } from './flexAttention';
