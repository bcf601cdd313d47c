import { feedForward } from '../channels/feedForward';
import { moe } from '../channels/moe';
import { rwkvChannel } from '../channels/rwkv';
import { attention } from './attention';
import { latent } from './latent';
import type { MixerFactory } from './mixer';
import { rwkv7 } from './rwkv7';

/** Token and channel mixers by the type that their specs carry. */
export const mixers = { attention, feedForward, latent, moe, rwkv7, rwkvChannel };

type SpecOf<F> = F extends MixerFactory<infer Spec> ? Spec : never;

/** A mixer as data. */
export type MixerSpec = SpecOf<(typeof mixers)[keyof typeof mixers]>;

export type { Mixer, MixerFactory, Step } from './mixer';
