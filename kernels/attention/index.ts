export { copyRows } from '../core/copyRows';
export { attentionForward } from './forward';
export { attentionBackward } from './backward';
export { addShared, attentionDecode, attentionMerge, ownScores, sharedScores } from './decode';
export { forgetGradient, forgetSums } from './forget';
export { sumRows } from '../core/sumRows';
export { groupedOuter } from '../core/groupedOuter';
export { columnTiles, halfTile, rowTiles, sixTiles } from '../core/panel';
export { projectHeads, projectRows, sumHeads } from './latent';
