import type { Tensor } from '@tensorflow/tfjs-core';
import type * as OnnxRuntime from 'onnxruntime-web';
import type { Graph } from './graph';

export interface OnnxModel {
  graph: Graph;
  /** Tensors by input name, with other dimensions where the model wants them. */
  feeds: Readonly<Record<string, Feed>>;
  /** Outputs to compute; the others are left out. */
  fetches: readonly string[];
}
export type Feed = Tensor | { data: Float32Array | Int32Array; dims: readonly number[] };

let runtime: typeof OnnxRuntime | undefined;

/** onnxruntime-web on `threads` threads, or undefined where it is not installed. */
export async function onnxRuntime(threads: number): Promise<typeof OnnxRuntime | undefined> {
  if (runtime !== undefined) return runtime;
  try {
    runtime = await import('onnxruntime-web');
  } catch {
    return undefined;
  }
  runtime.env.wasm.numThreads = threads;
  runtime.env.logLevel = 'error';
  return runtime;
}

/** A session of the model with its feeds made, so that only `run` is timed. */
export async function openSession(ort: typeof OnnxRuntime, { graph, feeds, fetches }: OnnxModel) {
  const session = await ort.InferenceSession.create(graph.model(), {
    executionProviders: ['wasm'],
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
  });
  const tensors = Object.fromEntries(
    Object.entries(feeds).map(([name, feed]) => {
      const { data, dims } = 'dims' in feed ? feed : { data: feed.dataSync(), dims: feed.shape };
      const type = data instanceof Int32Array ? 'int32' : 'float32';
      return [name, new ort.Tensor(type, data as never, [...dims])];
    }),
  );
  return {
    run: () => session.run(tensors, [...fetches]),
    close: () => session.release(),
  };
}
