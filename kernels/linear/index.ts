export { deltaForward } from './deltaForward';
