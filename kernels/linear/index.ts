export { deltaForward } from './deltaForward';
export { deltaBackward } from './deltaBackward';
