import { feedForward } from '../channels/feedForward';
import { moe } from '../channels/moe';
import { rwkvChannel } from '../channels/rwkv';
import { attention } from './attention';
import { crossAttention } from './crossAttention';
import { delta } from './delta';
import { gatedDelta } from './gatedDelta';
import { gla } from './gla';
import { gsa } from './gsa';
import { hgrn2 } from './hgrn2';
import { kda } from './kda';
import { latent } from './latent';
import { lightning } from './lightning';
import { linearized } from './linearized';
import { mamba } from './mamba';
import { mamba2 } from './mamba2';
import type { MixerFactory } from './mixer';
import { nsa } from './nsa';
import { parallelOf } from './parallel';
import { retention } from './retention';
import { rgLru } from './rgLru';
import { rwkv4 } from './rwkv4';
import { rwkv6 } from './rwkv6';
import { rwkv7 } from './rwkv7';
import { shortConvolution } from './shortConvolution';
import { zamba2 } from './zamba2';

const single = {
  attention,
  crossAttention,
  delta,
  feedForward,
  gatedDelta,
  gla,
  gsa,
  hgrn2,
  kda,
  latent,
  lightning,
  linearized,
  mamba,
  mamba2,
  moe,
  nsa,
  retention,
  rgLru,
  rwkv4,
  rwkv6,
  rwkv7,
  rwkvChannel,
  shortConvolution,
  zamba2,
};

type SpecOf<F> = F extends MixerFactory<infer Spec> ? Spec : never;
type SingleSpec = SpecOf<(typeof single)[keyof typeof single]>;

const parallel = parallelOf<SingleSpec>((weights, spec) =>
  (single[spec.type] as MixerFactory<SingleSpec>)(weights, spec),
);

/** Token and channel mixers by the type that their specs carry. */
export const mixers = { ...single, parallel };

/** A mixer as data. */
export type MixerSpec = SpecOf<(typeof mixers)[keyof typeof mixers]>;

export type { Comparison, Mixer, MixerFactory, Step } from './mixer';
