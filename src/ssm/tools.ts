export { type Discretization, discretize, type LinearSystem } from './discretize';
export { type HippoMeasure, type HippoOptions, hippo } from './hippo';
