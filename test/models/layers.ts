import {
  add,
  gather,
  matMul,
  mul,
  relu,
  reshape,
  sigmoid,
  slice,
  type Tensor,
  tanh,
} from '@tensorflow/tfjs-core';
import { type RopeOptions, rmsNorm, rope, scaledDotProductAttention } from '../../src/ops';
import type { Cache } from './cache';
import type { Weights } from './checkpoint';

/** `x W^T + b` over the last axis; the bias is there if the checkpoint has one. */
export function linear(weights: Weights, name: string, x: Tensor): Tensor {
  const weight = weights[`${name}.weight`];
  const bias = weights[`${name}.bias`];
  const [out, into] = weight.shape;
  const rows = matMul(reshape(x, [-1, into]) as never, weight as never, false, true);
  const y = reshape(rows, [...x.shape.slice(0, -1), out]);
  return bias === undefined ? y : add(y, bias);
}

export function embed(weights: Weights, name: string, ids: Tensor): Tensor {
  return gather(weights[`${name}.weight`], ids as never);
}

/** `[B, T, H D]` to `[B, T, H, D]` */
export function toHeads(x: Tensor, D: number): Tensor {
  const [B, T, C] = x.shape;
  return reshape(x, [B, T, C / D, D]);
}

/** `[B, T, H, D]` to `[B, T, H D]` */
export function fromHeads(x: Tensor): Tensor {
  const [B, T, H, D] = x.shape;
  return reshape(x, [B, T, H * D]);
}

/** The channels [begin, begin + size) of the last axis. */
export function channels(x: Tensor, begin: number, size: number): Tensor {
  const leading = x.shape.slice(0, -1);
  return slice(x, [...leading.map(() => 0), begin], [...leading, size]);
}

/** The tokens [begin, begin + size) of the second axis. */
export function tokens(x: Tensor, begin: number, size: number): Tensor {
  const [B, , ...rest] = x.shape;
  return slice(x, [0, begin, ...rest.map(() => 0)], [B, size, ...rest]);
}

export function silu(x: Tensor): Tensor {
  return mul(x, sigmoid(x));
}

export function geluTanh(x: Tensor): Tensor {
  const inner = mul(Math.sqrt(2 / Math.PI), add(x, mul(0.044715, mul(x, mul(x, x)))));
  return mul(mul(0.5, x), add(1, tanh(inner)));
}

export function squaredRelu(x: Tensor): Tensor {
  return mul(relu(x), relu(x));
}

/** `down(activation(gate(x)) * up(x))` */
export function gatedMlp(weights: Weights, prefix: string, x: Tensor, activation = silu): Tensor {
  const gate = activation(linear(weights, `${prefix}.gate_proj`, x));
  return linear(weights, `${prefix}.down_proj`, mul(gate, linear(weights, `${prefix}.up_proj`, x)));
}

export interface SelfAttention {
  headDim: number;
  rope: RopeOptions;
  scale?: number;
  /** Keys a query sees, itself included. */
  window?: number;
  softcap?: number;
  /** Normalises the heads of q and k before they are rotated. */
  norm?: { eps: number; weightOffset?: number };
  /** Whether q_proj holds, per head, the query and a gate of the output. */
  gated?: boolean;
}

/** Causal attention over the cached tokens and those of x. */
export function selfAttention(
  weights: Weights,
  prefix: string,
  x: Tensor,
  cache: Cache,
  options: SelfAttention,
): Tensor {
  const { headDim: D, scale, window, softcap, norm, gated = false } = options;
  const projected = toHeads(linear(weights, `${prefix}.q_proj`, x), gated ? 2 * D : D);
  const at = { ...options.rope, offset: cache.position };
  const normed = (heads: Tensor, name: string) =>
    norm === undefined ? heads : rmsNorm(heads, weights[`${prefix}.${name}_norm.weight`], norm);
  const q = rope(normed(gated ? channels(projected, 0, D) : projected, 'q'), at);
  const k = rope(normed(toHeads(linear(weights, `${prefix}.k_proj`, x), D), 'k'), at);
  const v = toHeads(linear(weights, `${prefix}.v_proj`, x), D);
  const output = scaledDotProductAttention(
    q,
    cache.append(`${prefix}.k`, k),
    cache.append(`${prefix}.v`, v),
    {
      isCausal: true,
      scale,
      window,
      softcap,
    },
  );
  const open = gated ? mul(output, sigmoid(channels(projected, D, D))) : output;
  return linear(weights, `${prefix}.o_proj`, fromHeads(open));
}
