export { flexForward } from './flexForward';
export { flexBackward } from './flexBackward';
export { gatherTerms, layTerms, positionTerms, positionTermsBackward } from './scoreMods';
export { chooseBlocks } from './choose';
export { blockMeans, blockMeansBackward } from './blockMeans';
export { addGated, addGatedBackward } from './gatedSum';
