import { type DataType, engine, getKernel, type Tensor, type TensorInfo, tidy } from '@tensorflow/tfjs-core';
import type { WasmBackend } from '../src/runtime/heap';

/** A kernel call as tfjs's registry saw it, with the bytes that went in and came out. */
interface Recorded {
  kernel: string;
  inputs: { shape: number[]; dtype: DataType; bytes: Uint8Array }[];
  attrs: unknown;
  outputs: Uint8Array[];
}

function bytesOf(tensor: TensorInfo): Uint8Array {
  const values = engine().readSync(tensor.dataId) as Float32Array | Int32Array | Uint8Array;
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength).slice();
}

/** Every call of a linnet kernel while `run` runs, those of gradients included. */
export function recordKernels(run: () => void): Recorded[] {
  const recorded: Recorded[] = [];
  const tfjs = engine();
  const { runKernel, state } = tfjs;
  // ops go to their kernels past tfjs unless it has something to note
  state.profiling = true;
  tfjs.runKernel = ((kernel: string, inputs: Tensor[], attrs: unknown) => {
    const result = runKernel.call(tfjs, kernel, inputs as never, attrs as never) as unknown as Tensor[];
    if (kernel.startsWith('linnet.') && !kernel.endsWith('.reference')) {
      recorded.push({
        kernel,
        inputs: inputs.map((x) => ({ shape: x.shape, dtype: x.dtype, bytes: bytesOf(x) })),
        attrs,
        outputs: result.map(bytesOf),
      });
    }
    return result;
  }) as never;
  try {
    tidy(run);
  } finally {
    state.profiling = false;
    tfjs.runKernel = runKernel;
  }
  return recorded;
}

const PAGES = 512;
const END = PAGES * 65536;

/**
 * Runs a recorded call on a memory of its own, all bytes 0xff (NaN), in which input number `last` ends where the
 * memory ends: a kernel that reads past an input traps, and one that reads what it has not written computes with NaN.
 *
 * @returns the outputs
 */
export function replayAtEndOfMemory(memory: WebAssembly.Memory, call: Recorded, last: number): Uint8Array[] {
  const bytes = new Uint8Array(memory.buffer);
  bytes.fill(0xff);
  let next = 1032;
  const offsets = new Map<object, number>();
  const allocate = (size: number) => {
    const pointer = next;
    next += (size + 15) & ~7;
    if (next > END) throw new RangeError(`${call.kernel}: needs more than the ${END} bytes of the test`);
    return pointer;
  };
  const place = (size: number, shape: number[], dtype: DataType, pointer: number): TensorInfo => {
    const info = { dataId: { id: offsets.size }, shape, dtype };
    offsets.set(info.dataId, size === 0 ? 0 : pointer);
    return info;
  };
  const backend: WasmBackend = {
    wasm: { asm: { memory }, _malloc: allocate, _free: () => {} },
    dataIdMap: { get: (dataId) => ({ memoryOffset: offsets.get(dataId)! }) },
    makeOutput(shape, dtype) {
      const size = 4 * shape.reduce((n, d) => n * d, 1);
      return place(size, shape, dtype, allocate(size));
    },
    disposeData: () => true,
  };
  const inputs = call.inputs.map(({ shape, dtype, bytes: given }, i) => {
    const pointer = i === last ? END - given.length : allocate(given.length);
    bytes.set(given, pointer);
    return place(given.length, shape, dtype, pointer);
  });
  const { kernelFunc } = getKernel(call.kernel, 'wasm')!;
  const outputs = kernelFunc({
    inputs: inputs as never,
    attrs: call.attrs as never,
    backend: backend as never,
  }) as TensorInfo[];
  return outputs.map((output, i) => {
    const pointer = offsets.get(output.dataId)!;
    return bytes.slice(pointer, pointer + call.outputs[i].length);
  });
}

export const replayMemory = () => new WebAssembly.Memory({ initial: PAGES, maximum: PAGES });
