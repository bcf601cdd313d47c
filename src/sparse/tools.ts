export type { BlockMask } from './blockMask';
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
export type { ScoreMod } from './scoreMods';
export * as scoreMods from './scoreMods';
