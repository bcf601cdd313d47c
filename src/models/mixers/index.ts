import { feedForward } from '../channels/feedForward';
import { moe } from '../channels/moe';
import { rwkvChannel } from '../channels/rwkv';
import { attention } from './attention';
import { delta } from './delta';
import { gatedDelta } from './gatedDelta';
import { kda } from './kda';
import { latent } from './latent';
import { mamba } from './mamba';
import type { MixerFactory } from './mixer';
import { rgLru } from './rgLru';
import { rwkv7 } from './rwkv7';
import { shortConvolution } from './shortConvolution';

/** Token and channel mixers by the type that their specs carry. */
export const mixers = {
  attention,
  delta,
  feedForward,
  gatedDelta,
  kda,
  latent,
  mamba,
  moe,
  rgLru,
  rwkv7,
  rwkvChannel,
  shortConvolution,
};

type SpecOf<F> = F extends MixerFactory<infer Spec> ? Spec : never;

/** A mixer as data. */
export type MixerSpec = SpecOf<(typeof mixers)[keyof typeof mixers]>;

export type { Mixer, MixerFactory, Step } from './mixer';
