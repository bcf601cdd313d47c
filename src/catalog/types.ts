import type { DataType, Tensor } from '@tensorflow/tfjs-core';
import type * as ops from '../ops';

/** The public ops: `linnet` itself or `linnet/reference`. */
export type Ops = typeof ops;
export type Family = 'attention' | 'sparse' | 'linear' | 'ssm' | 'moe' | 'nn';

/** A tensor to draw: normal(0, 1) times `scale` plus `shift` unless `draw` says otherwise. */
export interface InputSpec {
  shape: readonly number[];
  dtype?: DataType;
  scale?: number;
  shift?: number;
  /** `logSigmoid` gives log gates, `unit` rows of norm 1, `sigmoid` values in (0, 1). */
  draw?: 'normal' | 'logSigmoid' | 'unit' | 'sigmoid' | 'bool';
  /** Fixed values instead of drawn ones. */
  values?: readonly number[];
}
export type Tensors = Readonly<Record<string, Tensor>>;

export interface Case {
  id: string;
  inputs: Readonly<Record<string, InputSpec>>;
  call(ops: Ops, tensors: Tensors): Tensor | Tensor[];
  /** The same in plain float32 tfjs ops, where that can be said in a few lines. */
  naive?(tensors: Tensors): Tensor | Tensor[];
  /** Inputs that have a gradient; default all float32 ones. */
  differentiable?: readonly string[];
}

/** Error bounds: r = RMSE(err) / RMSE(ref), m = max |err| / max |ref|. */
export interface Bounds {
  r: number;
  m: number;
  gradient: number;
}

export interface CatalogEntry {
  name: keyof Ops;
  family: Family;
  /** One line for the table of ops. */
  summary: string;
  paper: { title: string; url: string };
  bounds: Bounds;
  cases: readonly Case[];
}
