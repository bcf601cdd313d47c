import type { Tensor } from '@tensorflow/tfjs-core';
import { leadingAxes } from '../moe/routerLogits';
import type { NdArray, Op, Shape } from '../op/define';
import { checkShapes } from '../tensor/shape';
import { defineNnOp } from './family';

type Part = `part${number}`;
interface Attrs {
  /** Channels of each part. */
  sizes: readonly number[];
}

const partNames = ({ sizes }: Attrs) => sizes.map((_, i): Part => `part${i}`);
const named = <T>(values: readonly T[]) => Object.fromEntries(values.map((value, i) => [`part${i}`, value]));
const rowsOf = (shape: Shape) => shape.slice(0, -1).reduce((n, size) => n * size, 1);
const total = ({ sizes }: Attrs) => sizes.reduce((sum, size) => sum + size, 0);

/** Where each part of a row begins. */
function begins({ sizes }: Attrs): number[] {
  let next = 0;
  return sizes.map((size) => {
    next += size;
    return next - size;
  });
}

/** Rows of a whole in parts of the given sizes. */
export function splitReference(rows: Float64Array, sizes: readonly number[]): Float64Array[] {
  const row = total({ sizes });
  return begins({ sizes }).map((begin, i) =>
    rows.filter((_, at) => at % row >= begin && at % row < begin + sizes[i]),
  );
}

const splitOp: Op<'x', Attrs> = defineNnOp<'x', Attrs>({
  name: 'splitChannels',
  outputs: ({ x }, { sizes }) => sizes.map((size) => [...x!.slice(0, -1), size]),
  kernel: ({ input, shape, output, attrs, launch }) => {
    const [rows, row] = [rowsOf(shape.x!), 4 * shape.x!.at(-1)!];
    begins(attrs).forEach((begin, i) => {
      const bytes = 4 * attrs.sizes[i];
      launch('copyRows', rows, input.x + 4 * begin, row, 1, output[i], bytes, bytes);
    });
  },
  reference: ({ x }, { sizes }) => splitReference(x!.data, sizes),
  gradient: ({ dy, attrs }) => ({ x: () => joinOp.run(named(dy), attrs)[0] }),
});

const joinOp: Op<Part, Attrs> = defineNnOp<Part, Attrs>({
  name: 'joinChannels',
  outputs: ({ part0 }, attrs) => [[...part0!.slice(0, -1), total(attrs)]],
  kernel: ({ input, shape, output, attrs, launch }) => {
    const [rows, row] = [rowsOf(shape.part0!), 4 * total(attrs)];
    const names = partNames(attrs);
    begins(attrs).forEach((begin, i) => {
      const bytes = 4 * attrs.sizes[i];
      launch('copyRows', rows, input[names[i]], bytes, 1, output[0] + 4 * begin, row, bytes);
    });
  },
  reference: (parts, attrs) => {
    const arrays = partNames(attrs).map((name) => parts[name] as NdArray);
    const [rows, row] = [rowsOf(arrays[0].shape), total(attrs)];
    const joined = new Float64Array(rows * row);
    begins(attrs).forEach((begin, i) => {
      const size = attrs.sizes[i];
      for (let r = 0; r < rows; r++)
        joined.set(arrays[i].data.subarray(r * size, (r + 1) * size), r * row + begin);
    });
    return [joined];
  },
  gradient: ({ dy, attrs }) => named(splitOp.run({ x: dy[0] }, attrs)),
});

/** @throws RangeError unless the sizes are natural numbers that add up to that of the axis `name` of `from`. */
export function checkParts(
  op: string,
  sizes: readonly number[],
  size: number,
  name: string,
  from: string,
): void {
  if (!sizes.every((part) => Number.isInteger(part) && part >= 0) || total({ sizes }) !== size)
    throw new RangeError(
      `${op}: sizes are [${sizes}]; expected parts of ${name} = ${size} (${name} from ${from})`,
    );
}

/**
 * The last axis in parts of the given sizes, which add up to it. Its gradient needs nothing but linnet.
 *
 * @throws TypeError, RangeError for a wrong dtype or sizes that do not add up
 */
export function splitChannels(x: Tensor, sizes: readonly number[]): Tensor[] {
  checkShapes('splitChannels', [['x', x, `${leadingAxes(x)} C`.trim()]]);
  checkParts('splitChannels', sizes, x.shape.at(-1)!, 'C', 'x');
  return splitOp.run({ x }, { sizes });
}

/** The parts side by side along the last axis, as `splitChannels` takes them apart. */
export function joinChannels(parts: readonly Tensor[]): Tensor {
  return joinOp.run(named(parts), { sizes: parts.map(({ shape }) => shape.at(-1)!) })[0];
}
