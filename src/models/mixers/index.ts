import { feedForward } from '../channels/feedForward';
import { moe } from '../channels/moe';
import { attention } from './attention';
import type { MixerFactory } from './mixer';

/** Token and channel mixers by the type that their specs carry. */
export const mixers = { attention, feedForward, moe };

type SpecOf<F> = F extends MixerFactory<infer Spec> ? Spec : never;

/** A mixer as data. */
export type MixerSpec = SpecOf<(typeof mixers)[keyof typeof mixers]>;

export type { Mixer, MixerFactory, Step } from './mixer';
