export type { BlockMask } from './blockMask';
export { CascadePruning, FastGen, HeavyHitters, PageSelector, SnapKv, StreamingLlm } from './cachePolicies';
export {
  andMasks,
  type BlockIndices,
  type BlockMaskOptions,
  blockMaskFromDense,
  blockMaskFromIndices,
  createBlockMask,
  type MaskMod,
  notMask,
  orMasks,
} from './createBlockMask';
export type { SvgOptions } from './drawMask';
export { type CacheAttentionOptions, KvCache, type KvCacheOptions, type PageSelection } from './kvCache';
export * as masks from './masks';
export { antidiagonalMask, aShapeMask, blockSparseMask, seerMask, verticalSlashMask } from './prefillMasks';
export type { ScoreMod } from './scoreMods';
export * as scoreMods from './scoreMods';
