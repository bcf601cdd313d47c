import type { Tensor } from '@tensorflow/tfjs-core';
import type { MixerState } from '../cache';
import type { Weights } from '../parameters';

/** What a mixer is told besides its input. */
export interface Step {
  /** Tokens before the first one of the input. */
  position: number;
  /** What it remembers of them. */
  state: MixerState;
  /** What mixers within it remember, by name. */
  stateOf(part: string): MixerState;
  /** What is remembered under a name of the whole model. */
  stateAt(name: string): MixerState;
  /** What layers pass on to later ones of the same pass, by name. */
  shared: Map<string, Tensor>;
  /** Where linearized attention leaves its output and that of softmax, which it then passes on in its place. */
  compared?: Comparison[];
}

/** Outputs of one layer's attention for the same queries, keys and values, `[B, T, H, D]`. */
export interface Comparison {
  linear: Tensor;
  softmax: Tensor;
}

/** `[B, T, C]` to `[B, T, C]` */
export type Mixer = (x: Tensor, step: Step) => Tensor;

/** Asks for its weights and returns the function that uses them once they are there. */
export type MixerFactory<Spec> = (weights: Weights, spec: Spec) => Mixer;
