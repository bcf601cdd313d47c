import { customGrad, dispose, grads, keep, ones, scalar, type Tensor, tidy } from '@tensorflow/tfjs-core';
import type { Tensors } from '../src/catalog/types';
import * as linnet from '../src/ops';
import { simdLevel, state } from '../src/runtime/modules';
import type { Contender } from './measure';
import { onnxRuntime, openSession } from './onnx/session';
import { WITH_GRADIENT } from './report';
import type { Workload } from './types';

const listOf = (result: Tensor | readonly Tensor[]) =>
  (Array.isArray(result) ? result : [result]) as Tensor[];

/** Bytes of the inputs and outputs of a workload: what no implementation can avoid to move. */
export function leastBytes(workload: Workload, tensors: Tensors): number {
  if (workload.bytes !== undefined) return workload.bytes;
  const bytesOf = (list: readonly Tensor[]) => list.reduce((n, { size }) => n + 4 * size, 0);
  return tidy(() => bytesOf(Object.values(tensors)) + bytesOf(listOf(workload.call(linnet, tensors))));
}

function synchronous(name: string, run: () => Tensor | readonly Tensor[]): Contender & { run(): void } {
  return { name, run: () => dispose(tidy(() => listOf(run()))) };
}

/** The same call in another state of the runtime. */
function during(name: string, change: Partial<typeof state>, { run }: { run(): void }): Contender {
  return {
    name,
    run() {
      const before = { ...state };
      Object.assign(state, change);
      try {
        run();
      } finally {
        Object.assign(state, before);
      }
    },
  };
}

const onOneThread = (own: { run(): void }) => during('one thread', { pool: undefined }, own);
/** With the binaries for engines that have no relaxed SIMD. */
const withPlainSimd = (own: { run(): void }) =>
  during('plain SIMD', { level: 'simd', instances: new WeakMap() }, own);

/** Forward and backward, from gradients of ones. */
function withGradients({ call, differentiable = [] }: Workload, tensors: Tensors): Contender {
  const dy = tidy(() => listOf(call(linnet, tensors)).map((y) => keep(ones(y.shape))));
  const gradients = grads((...values: Tensor[]) => {
    const given = Object.fromEntries(differentiable.map((name, i) => [name, values[i]]));
    const outputs = listOf(call(linnet, { ...tensors, ...given }));
    return customGrad(() => ({ value: scalar(0), gradFunc: () => dy }))(...outputs);
  });
  const values = differentiable.map((name) => tensors[name]);
  return { ...synchronous(WITH_GRADIENT, () => gradients(values)), close: () => dispose(dy) };
}

async function onnx(workload: Workload, tensors: Tensors, threads: number): Promise<Contender[]> {
  const ort = workload.onnx && (await onnxRuntime(threads));
  if (ort === undefined) return [];
  return Promise.all(
    Object.entries(workload.onnx!).map(async ([variant, build]) => {
      const { run, close } = await openSession(ort, build(tensors));
      return {
        name: variant === '' ? 'onnxruntime-web' : `onnxruntime-web ${variant}`,
        start: run,
        close,
      };
    }),
  );
}

/**
 * linnet first, then linnet on one of several threads, or without the relaxed SIMD that it has, its own gradient and every
 * rival of the workload that is installed.
 */
export async function contendersOf(
  workload: Workload,
  tensors: Tensors,
  threads: number,
): Promise<Contender[]> {
  const own = synchronous('linnet', () => workload.call(linnet, tensors));
  return [
    own,
    ...(threads > 1 ? [onOneThread(own)] : simdLevel() === 'relaxed' ? [withPlainSimd(own)] : []),
    ...(workload.differentiable === undefined ? [] : [withGradients(workload, tensors)]),
    ...Object.entries(workload.rivals ?? {}).map(([name, rival]) => synchronous(name, () => rival(tensors))),
    ...(await onnx(workload, tensors, threads)),
  ];
}
