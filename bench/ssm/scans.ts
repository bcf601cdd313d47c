import {
  add,
  depthwiseConv2d,
  exp,
  matMul,
  mul,
  pad,
  reshape,
  reverse,
  sigmoid,
  softplus,
  sqrt,
  square,
  sub,
  type Tensor,
  type Tensor4D,
  transpose,
} from '@tensorflow/tfjs-core';
import type { Workload } from '../types';

const decay = { draw: 'sigmoid' as const, shift: 2 };

function linearScan(T: number, quick: boolean): Workload {
  const D = 1024;
  return {
    op: 'linearScan',
    id: `T${T} D${D}`,
    quick,
    inputs: { a: { ...decay, shape: [1, T, D] }, b: { shape: [1, T, D] } },
    flops: 2 * T * D,
    differentiable: ['a', 'b'],
    call: (ops, { a, b }) => ops.linearScan(a, b),
    // reads and writes as much, without a recurrence
    rivals: { 'product alone': ({ a, b }) => mul(a, b) },
  };
}

function complexScan(T: number, quick: boolean): Workload {
  const D = 512;
  const part = { shape: [1, T, D] };
  return {
    op: 'complexScan',
    id: `T${T} D${D}`,
    quick,
    inputs: { aRe: { ...decay, ...part }, aIm: { ...part, scale: 0.1 }, bRe: part, bIm: part },
    flops: 8 * T * D,
    differentiable: ['aRe', 'aIm', 'bRe', 'bIm'],
    call: (ops, { aRe, aIm, bRe, bIm }) => {
      const { re, im } = ops.complexScan({ re: aRe, im: aIm }, { re: bRe, im: bIm });
      return [re, im];
    },
    rivals: { 'products alone': ({ aRe, aIm, bRe, bIm }) => [mul(aRe, bRe), mul(aIm, bIm)] },
  };
}

function rgLru(T: number, quick: boolean): Workload {
  const [H, d] = [8, 128];
  const weight = { shape: [H, d, d], scale: d ** -0.5 };
  const bias = { shape: [H, d] };
  return {
    op: 'rgLru',
    id: `T${T} H${H} d${d}`,
    quick,
    inputs: {
      x: { shape: [1, T, H * d] },
      param: { shape: [H * d], shift: -1 },
      wi: weight,
      bi: bias,
      wr: weight,
      br: bias,
    },
    flops: 4 * T * H * d * d,
    differentiable: ['x', 'param', 'wi', 'bi', 'wr', 'br'],
    call: (ops, { x, param, wi, bi, wr, br }) => ops.rgLru(x, param, wi, bi, wr, br),
    // a and b of the scan, head after head, without the scan
    rivals: {
      'gates alone': ({ x, param, wi, bi, wr, br }) => {
        const heads = transpose(reshape(x, [T, H, d]), [1, 0, 2]);
        const gate = (w: Tensor, b: Tensor) => sigmoid(add(matMul(heads, w), reshape(b, [H, 1, d])));
        const a = exp(mul(mul(softplus(reshape(param, [H, 1, d])), -8), gate(wr, br)));
        return [a, mul(sqrt(sub(1, square(a))), mul(gate(wi, bi), heads))];
      },
    },
  };
}

function lru(T: number, quick: boolean): Workload {
  const [D, N] = [256, 256];
  const weight = { shape: [N, D], scale: D ** -0.5 };
  return {
    op: 'lru',
    id: `T${T} D${D} N${N}`,
    quick,
    inputs: {
      u: { shape: [1, T, D] },
      nuLog: { shape: [N], shift: -2 },
      thetaLog: { shape: [N] },
      gammaLog: { shape: [N], shift: -1 },
      bRe: weight,
      bIm: weight,
      cRe: weight,
      cIm: weight,
      skip: { shape: [D] },
    },
    flops: 8 * T * D * N + 8 * T * N,
    differentiable: ['u', 'nuLog', 'thetaLog', 'gammaLog', 'bRe', 'bIm', 'cRe', 'cIm', 'skip'],
    call: (ops, { u, nuLog, thetaLog, gammaLog, bRe, bIm, cRe, cIm, skip }) =>
      ops.lru(u, nuLog, thetaLog, gammaLog, { re: bRe, im: bIm }, { re: cRe, im: cIm }, skip),
    // the four products, of weights that need no transposition, without the scan between them
    rivals: {
      'projections alone': ({ u, bRe, bIm, cRe, cIm }) => {
        const x = reshape(u, [T, D]);
        return sub(matMul(matMul(x, bRe), cRe), matMul(matMul(x, bIm), cIm));
      },
    },
  };
}

function fftConv(T: number, H: number, quick: boolean): Workload {
  return {
    op: 'fftConv',
    id: `T${T} H${H}`,
    quick,
    inputs: { u: { shape: [1, T, H] }, k: { shape: [H, T], scale: T ** -0.5 } },
    // three real transforms of twice the length
    flops: 15 * T * Math.log2(2 * T) * H,
    differentiable: ['u', 'k'],
    call: (ops, { u, k }) => ops.fftConv(u, k),
    rivals: {
      depthwise: ({ u, k }) => {
        const past = [0, T - 1, 0, 0].map((n): [number, number] => [n, 0]);
        const rows = pad(reshape(u, [1, T, 1, H]) as Tensor4D, past);
        const filter = reshape(reverse(transpose(k), 0), [T, 1, H, 1]) as Tensor4D;
        return reshape(depthwiseConv2d(rows, filter, 1, 'valid'), [1, T, H]);
      },
    },
  };
}

/** Scans and long convolutions; the rivals of scans, which tfjs does not have, are their surroundings alone. */
export const scans: Workload[] = [
  linearScan(2048, true),
  linearScan(16384, false),
  complexScan(2048, true),
  rgLru(1024, true),
  lru(1024, true),
  fftConv(64, 256, true),
  fftConv(1024, 32, true),
];
