import type { Tensor } from '@tensorflow/tfjs-core';
import type { NdArray, Op, Shape } from '../op/define';
import { defineLinearOp } from './family';
import { heapOffsets } from './workspace';

interface Attrs {
  /** Bounds of the sequences in the flattened [B T] axis. */
  offsets: readonly number[];
  scale: number;
}

interface ReadAttrs extends Attrs {
  /** Whether rows of x are values and those of y keys. */
  turned: boolean;
  /** Shape of y, whose heads may be fewer than those of the state: then they are sums. */
  output: Shape;
}

/** For every token and value head: its rows in tensors of H and of HV heads, and the state's place. */
function forEachToken(
  offsets: readonly number[],
  heads: readonly number[],
  HV: number,
  visit: (rows: number[], state: number) => void,
): void {
  for (let n = 0; n + 1 < offsets.length; n++)
    for (let t = offsets[n]; t < offsets[n + 1]; t++)
      for (let h = 0; h < HV; h++)
        visit(
          heads.map((H) => t * H + Math.floor((h * H) / HV)),
          n * HV + h,
        );
}

/** S = scale times the sum over the tokens of each sequence of k v^T, [N, HV, K, V]. */
const write: Op<'k' | 'v', Attrs> = defineLinearOp<'k' | 'v', Attrs>({
  name: 'writeState',
  outputs: ({ k, v }, { offsets }) => [[offsets.length - 1, v![2], k![3], v![3]]],
  kernel: (call) => {
    const { input, output, shape, attrs, launch } = call;
    const [[, , H, K], [, , HV, V]] = [shape.k!, shape.v!];
    const offsets = heapOffsets(call, attrs.offsets);
    // biome-ignore format: one argument list per line of the entry point
    launch('writeState', (attrs.offsets.length - 1) * HV,
      input.k, input.v, output[0], offsets, H, HV, K, V, attrs.scale);
  },
  reference: ({ k, v }: { k?: NdArray; v?: NdArray }, { offsets, scale }) => {
    const [[, , H, K], [, , HV, V]] = [k!.shape, v!.shape];
    const S = new Float64Array((offsets.length - 1) * HV * K * V);
    forEachToken(offsets, [H, HV], HV, ([key, value], state) => {
      for (let i = 0; i < K; i++)
        for (let j = 0; j < V; j++)
          S[(state * K + i) * V + j] += scale * k!.data[key * K + i] * v!.data[value * V + j];
    });
    return [S];
  },
  gradient: ({ inputs: { k, v }, dy: [S], attrs }) => ({
    k: () => read.run({ x: v, S }, { ...attrs, turned: true, output: k!.shape })[0],
    v: () => read.run({ x: k, S }, { ...attrs, turned: false, output: v!.shape })[0],
  }),
});

/** y = scale S^T x for every token, or scale S x. */
const read: Op<'x' | 'S', ReadAttrs> = defineLinearOp<'x' | 'S', ReadAttrs>({
  name: 'readState',
  outputs: (_, { output }) => [output],
  kernel: (call) => {
    const { input, output, shape, attrs, workspace, launch } = call;
    const [, , Hx, K] = shape.x!;
    const [, , Hy, V] = attrs.output;
    const offsets = heapOffsets(call, attrs.offsets);
    // biome-ignore format: one argument list per line of the entry point
    launch('readState', (attrs.offsets.length - 1) * Hy,
      input.x, input.S, output[0], offsets, workspace(4 * K * V),
      Hx, Hy, shape.S![1], K, V, attrs.scale, attrs.turned ? 1 : 0);
  },
  reference: ({ x, S }: { x?: NdArray; S?: NdArray }, { offsets, scale, turned, output }) => {
    const [, , Hx, K] = x!.shape;
    const [B, T, Hy, V] = output;
    const y = new Float64Array(B * T * Hy * V);
    forEachToken(offsets, [Hx, Hy], S!.shape[1], ([from, to], state) => {
      for (let i = 0; i < K; i++)
        for (let j = 0; j < V; j++) {
          const at = state * K * V + (turned ? j * K + i : i * V + j);
          y[to * V + j] += scale * x!.data[from * K + i] * S!.data[at];
        }
    });
    return [y];
  },
  gradient: ({ inputs: { x, S }, dy: [y], attrs }) => {
    if (attrs.turned) throw new Error('readState: there is no second gradient');
    return {
      x: () => read.run({ x: y, S }, { ...attrs, turned: true, output: x!.shape })[0],
      S: () => write.run({ k: x, v: y }, attrs)[0],
    };
  },
});

/** Output and no state of linear attention in which every token sees all others of its sequence. */
export function readAll(
  { q, k, v }: { q: Tensor; k: Tensor; v: Tensor },
  attrs: { offsets: readonly number[]; scale: number },
): Tensor {
  const { offsets, scale } = attrs;
  const [S] = write.run({ k, v }, { offsets, scale: 1 });
  return read.run({ x: q, S }, { offsets, scale, turned: false, output: v.shape })[0];
}
