export { flexForward } from './flexForward';
export { flexBackward } from './flexBackward';
export { gatherTerms, layTerms, positionTerms, positionTermsBackward } from './scoreMods';
export { chooseBlocks } from './choose';
export { blockMeans, blockMeansBackward } from './blockMeans';
export { addGated, addGatedBackward } from './gatedSum';
export { int8Attention, quantizeRows } from './int8';
export { scatterForward } from './scatterForward';
export { attentionMass } from './attentionMass';
