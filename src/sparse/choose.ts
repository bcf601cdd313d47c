import { chooseReference } from './choose.reference';
import { defineSparseOp } from './family';

export interface ChooseAttrs {
  /** What a head gives to the score of a block: its probability among the blocks, q k, or weight * relu(q k). */
  by: 'probability' | 'score' | 'relu';
  scale: number;
  /** Sets of neighbouring heads with one choice each. */
  sets: number;
  /** Blocks chosen. */
  count: number;
  /**
   * For each query [lo, hi), the blocks that have scores, and the own block, always chosen, or -1. By probability the
   * first block and the one before the own are always chosen as well.
   */
  plan: Int32Array;
}

const MODES = ['probability', 'score', 'relu'] as const;
const QUERIES = 8;
/** 2 GiB of indices. */
const MOST_CHOICES = 2 ** 29;

/** @throws RangeError when so many choices for each of `rows` are more than fit, of which few can be any use. */
export function checkChoices(op: string, name: string, count: number, rows: number, useful: string): void {
  if (rows * count > MOST_CHOICES)
    throw new RangeError(
      `${op}: ${name} = ${count} makes more choices than an array holds; at most ${useful} are of use`,
    );
}

/** For every query the blocks with the greatest scores: int32 [B, T, sets, count], ascending, -1 last. No gradient. */
export const chooseBlocks = defineSparseOp<'q' | 'k' | 'weights', ChooseAttrs>({
  name: 'chooseBlocks',
  outputs: ({ q }, { sets, count }) => [{ shape: [q![0], q![1], sets, count], dtype: 'int32' }],
  kernel: ({ input, shape, output, attrs, scratch, workspace, buffer, launch }) => {
    const { by, scale, sets, count, plan } = attrs;
    const [B, T, Hq, D] = shape.q!;
    const [, C, Hkv] = shape.k!;
    const table = scratch(plan.byteLength);
    new Int32Array(buffer(), table, plan.length).set(plan);
    const bytes = 32 * (D + 2 * Math.ceil((C + 1) / 4) * 4) + 64;
    // biome-ignore format: one argument list per line of the entry point
    launch('chooseBlocks', B * sets * Math.ceil(T / QUERIES),
      input.q, input.k, input.weights, table, output[0],
      T, C, Hq, Hkv, D, sets, count, MODES.indexOf(by), scale, workspace(bytes));
  },
  reference: (x, attrs) => [chooseReference(x, attrs)],
});
