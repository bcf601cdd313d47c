import {
  backend,
  customGrad,
  dispose,
  grad,
  memory,
  ones,
  scalar,
  type Tensor,
  tidy,
} from '@tensorflow/tfjs-core';
import { catalog } from '../../catalog';
import { drawInputs } from '../../catalog/numerics';
import type { Case, CatalogEntry, Ops } from '../../catalog/types';
import * as linnet from '../../ops';
import { uniform } from '../../random';
import type { WasmBackend } from '../../runtime/heap';
import { HeapWatch } from './heapWatch';
import { isTensor, type Leaf, leavesOf, show, withValue } from './leaves';
import { mutate, pick, type Random } from './mutate';

export interface FuzzOptions {
  seed?: number;
  /** How long, or how many calls. */
  seconds?: number;
  calls?: number;
  /** Only this op. */
  op?: string;
  /** Only the call of this number, as a failure names it. */
  call?: number;
  onFailure?: (failure: FuzzFailure) => void;
}

export interface FuzzFailure {
  op: string;
  call: number;
  /** What is wrong. */
  reason: string;
  /** The case of the catalog, what was changed in its arguments, and what they are now. */
  arguments: string;
  error?: unknown;
}

export interface FuzzReport {
  calls: number;
  accepted: number;
  refused: number;
  gradients: number;
  failures: FuzzFailure[];
}

type AnyOp = (...args: unknown[]) => unknown;
const CANARY_SIZE = 1024;
/** Words of engines, of tfjs and of code that trusted its arguments, in messages that a user cannot act on. */
const UNREADABLE =
  /unreachable|out of bounds|RuntimeError|is not a function|is not iterable|Cannot (read|convert|mix|destructure)|undefined \(|Maximum call stack|Invalid (typed )?array length|Tensor is disposed/;
/** Of ops that are not defined otherwise. */
const NEEDS_FINITE = /is (NaN|-?Infinity); expected a finite number$/;
/** The engine says what is wrong. */
const NULL_OPTIONS = /^Cannot destructure property '\w+' of 'options' as it is null/;

const NO_GRADIENT =
  /Cannot compute gradient of y=f\(x\)|gradient function not found for linnet\.\w+|there is no gradient with respect to/;

const wasm = () => backend() as unknown as WasmBackend & { numDataIds(): number };

/** Calls of a case reach `call` instead of the op. */
function intercepting(call: (name: keyof Ops, args: unknown[]) => unknown): Ops {
  return new Proxy(linnet, {
    get:
      (_, name) =>
      (...args: unknown[]) =>
        call(name as keyof Ops, args),
  }) as Ops;
}

/** The argument lists of every case of an op; tensors in them are disposed. */
function callsOf({ cases }: CatalogEntry): unknown[][] {
  const calls: unknown[][] = [];
  for (const c of cases) interceptFirst(c, (_, args) => void calls.push(args));
  return calls;
}

const STOP = new Error('stop');
/** Runs a case up to its first call of an op. */
function interceptFirst(c: Case, call: (name: keyof Ops, args: unknown[]) => void): void {
  let intercepted = false;
  const ops = intercepting((name, args) => {
    // biome-ignore lint/performance/noDynamicNamespaceImportAccess: every op is called
    if (intercepted) return (linnet[name] as unknown as AnyOp)(...args);
    intercepted = true;
    call(name, args);
    throw STOP;
  });
  try {
    tidy(() => {
      c.call(ops, drawInputs(c.inputs));
    });
  } catch (error) {
    if (error !== STOP) throw error;
  }
}

const tensorsIn = (value: unknown): Tensor[] => [
  ...new Set(
    leavesOf([value])
      .map((leaf) => leaf.value)
      .filter(isTensor),
  ),
];

/** Values of all outputs; int32, float32 and bool only. */
const valuesOf = (tensors: readonly Tensor[]) => tensors.map((t) => t.dataSync().slice());

const sameBits = (a: readonly ArrayLike<number>[], b: readonly ArrayLike<number>[]) =>
  a.length === b.length &&
  a.every(
    (values, i) => values.length === b[i].length && Array.from(values).every((x, j) => Object.is(x, b[i][j])),
  );

/** A loss with gradient 1 everywhere; tfjs-core alone has no gradients of its own ops. */
function total(outputs: Tensor[]): Tensor {
  return customGrad(() => ({
    value: scalar(0),
    gradFunc: () => outputs.map((output) => ones(output.shape)),
  }))(...outputs);
}

class Fuzzer {
  readonly report: FuzzReport = { calls: 0, accepted: 0, refused: 0, gradients: 0, failures: [] };
  private readonly options = new Map<CatalogEntry, Leaf[]>();
  private readonly watch = new HeapWatch();
  private readonly canaries = Array.from({ length: 4 }, () => ones([CANARY_SIZE]));

  constructor(private readonly settings: FuzzOptions) {}

  /** Options of all cases of an op that are no tensors. */
  private optionsOf(entry: CatalogEntry): Leaf[] {
    let options = this.options.get(entry);
    if (options === undefined) {
      options = callsOf(entry).flatMap((args) =>
        leavesOf(args).filter(({ path, value }) => path.length > 1 && !isTensor(value)),
      );
      this.options.set(entry, options);
    }
    return options;
  }

  run(call: number): void {
    const random = uniform((this.settings.seed ?? 1) * 1_000_003 + call);
    const entries = catalog.filter(({ name }) => this.settings.op === undefined || name === this.settings.op);
    const entry = pick(entries, random);
    const c = pick(entry.cases, random);
    const options = this.optionsOf(entry);
    this.report.calls++;
    interceptFirst(c, (name, args) => {
      const { args: mutated, notes, valid } = mutate(args, options, random);
      const fail = (reason: string, error?: unknown) => {
        const shown = `${c.id}${notes.map((note) => `; ${note}`).join('')}: ${name}(${mutated.map(show).join(', ')})`;
        const failure = { op: name, call, reason, arguments: shown, error };
        this.report.failures.push(failure);
        this.settings.onFailure?.(failure);
      };
      this.attempt(name, mutated, valid, random, fail);
    });
  }

  private attempt(
    name: keyof Ops,
    args: unknown[],
    valid: boolean,
    random: Random,
    fail: (reason: string, error?: unknown) => void,
  ): void {
    // biome-ignore lint/performance/noDynamicNamespaceImportAccess: every op is called
    const op = linnet[name] as unknown as AnyOp;
    const leaves = leavesOf(args);
    const inputs = leaves.map(({ value }) => value);
    const first = this.guarded(name, inputs, () => op(...args), valid, fail);
    if (first === undefined) {
      this.report.refused++;
      return;
    }
    this.report.accepted++;
    this.watch.fill = 0;
    const second = this.guarded(name, inputs, () => op(...args), valid, fail);
    this.watch.fill = 0xff;
    if (second !== undefined && !sameBits(first, second))
      fail('two calls differ, or read what was not written');
    const floats = leaves.filter(({ value }) => isTensor(value) && value.dtype === 'float32');
    if (floats.length === 0) return;
    const { path, value } = pick(floats, random);
    this.report.gradients++;
    const gradient = () =>
      grad((x: Tensor) =>
        total(tensorsIn(op(...withValue(args, path, x))).filter((t) => t.dtype === 'float32')),
      )(value as Tensor);
    this.guarded(
      name,
      inputs,
      gradient,
      false,
      (reason, error) => fail(`gradient of ${path.join('.')}: ${reason}`, error),
      true,
    );
  }

  /** Runs something and checks what it left behind; its outputs, or undefined when it threw. */
  private guarded(
    name: string,
    inputs: readonly unknown[],
    run: () => unknown,
    valid: boolean,
    fail: (reason: string, error?: unknown) => void,
    gradient = false,
  ): ArrayLike<number>[] | undefined {
    const counts = () => [memory().numTensors, wasm().numDataIds(), this.watch.blocks];
    const before = counts();
    let outputs: ArrayLike<number>[] | undefined;
    try {
      const tensors = tensorsIn(run()).filter((output) => !inputs.includes(output));
      outputs = valuesOf(tensors);
      dispose(tensors as never);
    } catch (error) {
      if (valid && !NEEDS_FINITE.test(String(error))) fail('refused valid arguments', error);
      else if (!isReadable(name, error)) fail('unreadable error', error);
    }
    const after = counts();
    // tfjs keeps what it saved for a gradient that then fails
    if ((outputs !== undefined || !gradient) && !after.every((count, i) => count === before[i])) {
      fail(
        `left behind: tensors, data ids, blocks were ${before} and are ${after}${outputs ? '' : ' after an error'}`,
      );
    }
    const damaged = this.watch.takeDamaged();
    if (damaged > 0) fail(`wrote outside of ${damaged} blocks`);
    if (this.canaries.some((canary) => canary.dataSync().some((x) => x !== 1)))
      fail('wrote into another tensor');
    return outputs;
  }

  stop(): void {
    dispose(this.canaries as never);
    this.watch.stop();
  }
}

function isReadable(name: string, error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { message } = error;
  if (NO_GRADIENT.test(message) || NULL_OPTIONS.test(message)) return true;
  const [op] = message.split(': ', 1);
  return (op === name || op in linnet) && !UNREADABLE.test(message);
}

/** Calls ops of the catalog with arguments that are valid, odd or hostile. The same seed makes the same calls. */
export function fuzz(settings: FuzzOptions): FuzzReport {
  const fuzzer = new Fuzzer(settings);
  const end = performance.now() + 1000 * (settings.seconds ?? Infinity);
  try {
    if (settings.call !== undefined) fuzzer.run(settings.call);
    else {
      for (let call = 0; call < (settings.calls ?? Infinity) && performance.now() < end; call++)
        fuzzer.run(call);
    }
    return fuzzer.report;
  } finally {
    fuzzer.stop();
  }
}
