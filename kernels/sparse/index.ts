export { flexForward } from './flexForward';
export { flexBackward } from './flexBackward';
export { gatherTerms, layTerms, positionTerms, positionTermsBackward } from './scoreMods';
