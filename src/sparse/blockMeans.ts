import type { Tensor } from '@tensorflow/tfjs-core';
import type { SparseKernels } from '../generated/sparse';
import type { KernelCall, NdArray, Shape } from '../op/define';
import { defineSparseOp } from './family';

interface Attrs {
  /** Rows [lo, hi) of each block, not empty. */
  bounds: Int32Array;
}
interface BackwardAttrs extends Attrs {
  T: number;
}

const op = defineSparseOp<'x', Attrs>({
  name: 'blockMeans',
  outputs: ({ x }, { bounds }) => [[x![0], bounds.length / 2, x![2], x![3]]],
  kernel: (call) => {
    const [B, T, H, D] = call.shape.x!;
    const { table, N } = layBounds(call);
    call.launch('blockMeans', B * N, call.input.x, table, call.output[0], T, N, H * D);
  },
  reference: ({ x }, { bounds }) => [meansReference(x!, bounds)],
  gradient: ({ inputs, dy, attrs }) => {
    const [x] = backward.run({ dmeans: dy[0] }, { ...attrs, T: inputs.x!.shape[1]! });
    return { x };
  },
});

const backward = defineSparseOp<'dmeans', BackwardAttrs>({
  name: 'blockMeansBackward',
  outputs: ({ dmeans }, { T }) => [gradientShape(dmeans!, T)],
  kernel: (call) => {
    const [B, , H, D] = call.shape.dmeans!;
    const { T } = call.attrs;
    const { table, N } = layBounds(call);
    new Float32Array(call.buffer(), call.output[0], B * T * H * D).fill(0);
    call.launch('blockMeansBackward', B * N, call.input.dmeans, table, call.output[0], T, N, H * D);
  },
  reference: ({ dmeans }, { bounds, T }) => [meansBackwardReference(dmeans!, bounds, T)],
});

const gradientShape = ([B, , H, D]: Shape, T: number): Shape => [B, T, H, D];

function layBounds<I extends string, A extends Attrs>(call: KernelCall<I, A, SparseKernels>) {
  const { bounds } = call.attrs;
  const table = call.scratch(bounds.byteLength);
  new Int32Array(call.buffer(), table, bounds.length).set(bounds);
  return { table, N: bounds.length / 2 };
}

function meansReference(x: NdArray, bounds: Int32Array): Float64Array {
  const [B, T, H, D] = x.shape;
  const N = bounds.length / 2;
  const means = new Float64Array(B * N * H * D);
  for (let b = 0; b < B; b++) {
    for (let n = 0; n < N; n++) {
      const [lo, hi] = bounds.subarray(2 * n);
      for (let d = 0; d < H * D; d++) {
        for (let t = lo; t < hi; t++) means[(b * N + n) * H * D + d] += x.data[(b * T + t) * H * D + d];
        means[(b * N + n) * H * D + d] /= hi - lo;
      }
    }
  }
  return means;
}

function meansBackwardReference(dmeans: NdArray, bounds: Int32Array, T: number): Float64Array {
  const [B, N, H, D] = dmeans.shape;
  const dx = new Float64Array(B * T * H * D);
  for (let b = 0; b < B; b++) {
    for (let n = 0; n < N; n++) {
      const [lo, hi] = bounds.subarray(2 * n);
      for (let t = lo; t < hi; t++) {
        for (let d = 0; d < H * D; d++) {
          dx[(b * T + t) * H * D + d] = dmeans.data[(b * N + n) * H * D + d] / (hi - lo);
        }
      }
    }
  }
  return dx;
}

/** Means of the rows of x `[B, T, H, D]` in each block [lo, hi) of `bounds`, in pairs: `[B, N, H, D]`, differentiable. */
export function blockMeans(x: Tensor, bounds: Int32Array): Tensor {
  return op.run({ x }, { bounds })[0];
}
