import {
  type DataType,
  engine,
  env,
  getBackend,
  getGradient,
  getKernel,
  registerGradient,
  registerKernel,
  type Tensor,
  type TensorInfo,
  util,
} from '@tensorflow/tfjs-core';
import { memoryOf, pointerTo, reserve, Scratch, type WasmBackend, type Workspace } from '../runtime/heap';
import { launch, threadsOf } from '../runtime/launch';
import { entryPoints, type FamilyBinaries, registerFamily } from '../runtime/modules';
import type { Work } from '../runtime/work';
import { exactValues, type ReadWrite, writeExact } from './exact';

/** A tensor as the references see it: the values, widened to float64, and their shape. */
export interface NdArray {
  data: Float64Array;
  shape: readonly number[];
}
export type Shape = readonly number[];
type Given<I extends string, T> = { readonly [name in I]?: T };
/** The numbers a kernel entry point takes before its range of work items. */
type LaunchArgs<F> = F extends (...args: [...infer Args extends number[], begin: number, end: number]) => void
  ? { [i in keyof Args]: Args[i] | Workspace }
  : never;

/** One call of a wasm kernel: pointers in, pointers out. Absent inputs are pointer 0. */
export interface KernelCall<I extends string, A, K> {
  input: Readonly<Record<I, number>>;
  shape: Given<I, Shape>;
  output: readonly number[];
  /** Where to write what the gradient wants kept, if one is recorded. */
  kept: readonly number[];
  attrs: A;
  /** A heap view, valid until the next allocation. */
  buffer(): ArrayBufferLike;
  /** Scratch on the heap that all work items see, 64-byte aligned, uninitialised, freed when the call ends. */
  scratch(bytes: number): number;
  /** The same for what each work item overwrites: every thread gets `bytes` of its own. */
  workspace(bytes: number): Workspace;
  /** Threads that a launch may run on. */
  threads: number;
  /** Runs an entry point of the family over its work items, on any thread and, if they are independent, in any order. */
  launch<N extends keyof K>(entry: N, work: Work, ...args: LaunchArgs<K[N]>): void;
}

/** What a gradient is computed from. `dy` is zero-filled for outputs nothing depends on. */
export interface GradientCall<I extends string, A> {
  inputs: Given<I, Tensor>;
  /** The saved outputs, in order (those of `saveOutputs`). */
  outputs: readonly Tensor[];
  /** What the WASM form has kept; nothing if it was the reference that ran. */
  kept: readonly Tensor[];
  dy: readonly Tensor[];
  attrs: A;
}

export interface OpDefinition<I extends string, A, K> {
  name: string;
  /** Shapes of the outputs, float32 unless given as `{ shape, dtype }`. */
  outputs(shape: Given<I, Shape>, attrs: A): readonly (Shape | { shape: Shape; dtype: DataType })[];
  /** The WASM form. */
  kernel(call: KernelCall<I, A, K>): void;
  /** The textbook form, in float64. */
  reference(inputs: Given<I, NdArray>, attrs: A): readonly ArrayLike<number>[];
  /** Which outputs the gradient needs. */
  saveOutputs?: readonly boolean[];
  /** Shapes, float32, of what the WASM form also writes where a gradient is recorded, for the gradient alone. */
  kept?(shape: Given<I, Shape>, attrs: A): readonly Shape[];
  /** A gradient per differentiable input, as a tensor or as a function that computes it when it is asked for. */
  gradient?(call: GradientCall<I, A>): Given<I, Tensor | (() => Tensor)>;
}

export interface Op<I extends string, A> {
  readonly name: string;
  reference(inputs: Given<I, NdArray>, attrs: A): readonly ArrayLike<number>[];
  run(inputs: Given<I, Tensor>, attrs: A): Tensor[];
}

/** How attributes travel through tfjs's registry: the inputs go as an array, so their names go here. */
interface CallAttrs<I extends string, A> {
  names: I[];
  attrs: A;
  /** Whether a gradient is recorded. */
  recorded: boolean;
}

const REFERENCE = '.reference';
const FLOAT: DataType = 'float32';
let referenceMode = false;

/** The same function, running the float64 references whatever the backend, in its gradients as well. */
export function asReference<F extends (...args: never[]) => unknown>(publicFunction: F): F {
  return ((...args: never[]) => inMode(true, () => publicFunction(...args))) as F;
}

/** Whether a gradient of what runs now may be asked for. */
export function isRecording(): boolean {
  const { gradientDepth, kernelDepth } = engine().state;
  return gradientDepth > 0 && kernelDepth === 0;
}

/** Whether tfjs would only call the kernel: its own way there takes longer than most kernels of one token. */
const isPlain = ({ gradientDepth, profiling }: { gradientDepth: number; profiling: boolean }) =>
  gradientDepth === 0 && !profiling && !env().getBool('DEBUG');

function inMode<T>(reference: boolean, run: () => T): T {
  const before = referenceMode;
  referenceMode = reference;
  try {
    return run();
  } finally {
    referenceMode = before;
  }
}

function byName<I extends string, T, U>(
  names: readonly I[],
  values: readonly T[],
  map: (value: T) => U,
): Given<I, U> {
  const result: { [name in I]?: U } = {};
  names.forEach((name, i) => {
    result[name] = map(values[i]);
  });
  return result;
}

/**
 * Keeps tensors for the gradient of the call that gave `outputs`, where one is recorded. tfjs would copy them: its clone on
 * the wasm backend takes new memory, and for a scan the copies take longer than the scan. `own` are of no use elsewhere.
 */
function save(outputs: readonly Tensor[], tensors: readonly Tensor[], own: readonly Tensor[]): void {
  const { state, backend } = engine();
  const call = state.activeTape?.at(-1);
  if (call?.outputs !== outputs) return;
  for (const { dataId, shape, dtype } of tensors) {
    backend.incRef(dataId);
    call.saved!.push(engine().keep(engine().makeTensorFromTensorInfo({ dataId, shape, dtype })));
  }
  call.saved!.push(...own.map((tensor) => engine().keep(tensor)));
}

/** A family of kernels: its binaries become known to `ready`, its ops share their entry points. */
export function defineFamily<K>(family: string, binaries: FamilyBinaries) {
  registerFamily(family, binaries);
  return <I extends string, A>(definition: OpDefinition<I, A, K>): Op<I, A> => defineOp(family, definition);
}

function defineOp<I extends string, A, K>(family: string, definition: OpDefinition<I, A, K>): Op<I, A> {
  const { name } = definition;
  const kernelName = `linnet.${name}`;
  /** Bytes of the smallest call that ran on all threads: workers are woken while such a call is made ready. */
  let sharedFrom = Number.POSITIVE_INFINITY;

  function outputSpecs(names: I[], inputs: readonly TensorInfo[], attrs: A) {
    const shape = byName(names, inputs, (tensor) => tensor.shape as Shape);
    const specs = definition
      .outputs(shape, attrs)
      .map((spec) => ('dtype' in spec ? spec : { shape: spec, dtype: FLOAT }));
    return { shape, specs };
  }

  function runWasm(
    inputs: TensorInfo[],
    { names, attrs, recorded }: CallAttrs<I, A>,
    backend: WasmBackend,
  ): TensorInfo[] {
    const { shape, specs } = outputSpecs(names, inputs, attrs);
    const results = specs.length;
    if (recorded)
      specs.push(...(definition.kept?.(shape, attrs) ?? []).map((kept) => ({ shape: kept, dtype: FLOAT })));
    const bytes = specs.reduce((sum, spec) => sum + util.sizeFromShape([...spec.shape]) * 4, 0);
    const moved = inputs.reduce((sum, { shape: given }) => sum + util.sizeFromShape(given) * 4, bytes);
    const threads = threadsOf(backend);
    let shared = false;
    if (moved >= sharedFrom) threads?.wake();
    reserve(backend, name, bytes);
    const outputs: TensorInfo[] = [];
    const scratch = new Scratch(backend, name);
    try {
      for (const spec of specs) outputs.push(backend.makeOutput([...spec.shape], spec.dtype));
      if (bytes === 0) return outputs;
      const kernels = entryPoints(backend, family);
      definition.kernel({
        // absent inputs read as undefined, which becomes pointer 0 at the call
        input: byName(names, inputs, (tensor) => pointerTo(backend, tensor)) as Record<I, number>,
        shape,
        output: outputs.slice(0, results).map((output) => pointerTo(backend, output)),
        kept: outputs.slice(results).map((output) => pointerTo(backend, output)),
        attrs,
        buffer: () => memoryOf(backend).buffer,
        scratch: (size) => scratch.take(size),
        workspace: (size) => scratch.takeFor(threads?.count ?? 1, size),
        threads: threads?.count ?? 1,
        launch: (entry, work, ...args) => {
          shared = launch(kernels, threads, family, entry as string, work, args, moved) || shared;
        },
      });
      if (shared) sharedFrom = Math.min(sharedFrom, moved);
      else if (threads !== undefined && moved >= sharedFrom) sharedFrom = Number.POSITIVE_INFINITY;
      return outputs;
    } catch (error) {
      for (const output of outputs) backend.disposeData(output.dataId, true);
      throw error;
    } finally {
      scratch.free();
    }
  }

  function runReference(
    inputs: TensorInfo[],
    { names, attrs }: CallAttrs<I, A>,
    backend: ReadWrite,
  ): TensorInfo[] {
    const { specs } = outputSpecs(names, inputs, attrs);
    const arrays = byName(names, inputs, (tensor) => ({
      data: exactValues(tensor, backend),
      shape: tensor.shape,
    }));
    const results = definition.reference(arrays, attrs);
    return specs.map(({ shape, dtype }, i) => writeExact(backend, results[i], shape, dtype));
  }

  function gradientFor(reference: boolean) {
    return (dy: Tensor | Tensor[], saved: Tensor[], unknownAttrs: unknown) => {
      const { names, attrs } = unknownAttrs as CallAttrs<I, A>;
      const ends = names.length + (definition.saveOutputs?.filter(Boolean).length ?? 0);
      const inMyMode = <T>(run: () => T) => inMode(reference, run);
      const gradients = inMyMode(() =>
        definition.gradient!({
          inputs: byName(names, saved.slice(0, names.length), (tensor) => tensor),
          outputs: saved.slice(names.length, ends),
          kept: saved.slice(ends),
          dy: Array.isArray(dy) ? dy : [dy],
          attrs,
        }),
      );
      return Object.fromEntries(
        names.map((input, i) => [
          i,
          () => {
            const gradient = gradients[input] as Tensor | (() => Tensor) | undefined;
            if (gradient === undefined)
              throw new Error(`${name}: there is no gradient with respect to ${input}`);
            return typeof gradient === 'function' ? inMyMode(gradient) : gradient;
          },
        ]),
      );
    };
  }

  function register(kernel: string, backendName: string, run: typeof runReference | typeof runWasm) {
    if (getKernel(kernel, backendName) !== undefined) return;
    registerKernel({
      kernelName: kernel,
      backendName,
      kernelFunc: ({ inputs, attrs, backend }) =>
        run(inputs as unknown as TensorInfo[], attrs as unknown as CallAttrs<I, A>, backend as never),
    });
    if (definition.gradient === undefined || getGradient(kernel) !== undefined) return;
    registerGradient({
      kernelName: kernel,
      gradFunc: gradientFor(kernel.endsWith(REFERENCE)),
    });
  }

  register(kernelName, 'wasm', runWasm);
  register(kernelName, 'cpu', runReference);

  return {
    name,
    reference: definition.reference,
    run(inputs, attrs) {
      const backendName = getBackend();
      const useReference = referenceMode || !(backendName === 'wasm' || backendName === 'cpu');
      const kernel = useReference ? kernelName + REFERENCE : kernelName;
      if (useReference) register(kernel, backendName, runReference);
      const names = (Object.keys(inputs) as I[]).filter((input) => inputs[input] !== undefined);
      const tensors = names.map((input) => inputs[input]!);
      const gone = names.find((input) => inputs[input]!.isDisposed);
      if (gone !== undefined) throw new Error(`${name}: ${gone} is disposed`);
      const { state, backend } = engine();
      if (kernel === kernelName && backendName === 'wasm' && isPlain(state)) {
        const given = { names, attrs, recorded: false };
        const infos = runWasm(tensors, given, backend as unknown as WasmBackend);
        return infos.map((info) => engine().makeTensorFromTensorInfo(info));
      }
      const recorded = definition.gradient !== undefined && isRecording();
      const outputs = engine().runKernel(
        kernel,
        tensors as never,
        { names, attrs, recorded } as never,
      ) as unknown as Tensor[];
      if (recorded) {
        const kept = outputs.splice(outputSpecs(names, tensors, attrs).specs.length);
        save(outputs, [...tensors, ...outputs.filter((_, i) => definition.saveOutputs?.[i])], kept);
      }
      return outputs;
    },
  };
}
