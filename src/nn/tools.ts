export {
  type RopeFrequencies,
  type RopeFrequenciesOptions,
  type RopeScaling,
  ropeFrequencies,
} from './ropeFrequencies';
