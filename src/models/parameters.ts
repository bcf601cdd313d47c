import { concat, keep, type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import type { LinearWeights } from '../nn/layers/linear';
import type { Stored } from './decode';
import type { Checkpoint } from './safetensors';

/** A tensor of a checkpoint by name and shape. */
export interface Source {
  name: string;
  shape: readonly number[];
}

/** One way to make a parameter from tensors of a checkpoint. */
interface Recipe {
  sources: readonly Source[];
  /** What comes out is kept; the tensors that go in are not. */
  prepare(tensors: Tensor[]): Tensor;
}

/** A tensor of a model, there once its model is loaded. */
export class Parameter {
  private tensor?: Tensor;
  constructor(
    /** Within its model. */
    readonly id: string,
    readonly recipes: readonly Recipe[],
  ) {}

  get name(): string {
    return this.recipes[0].sources[0].name;
  }

  get value(): Tensor {
    if (this.tensor === undefined) throw new Error(`${this.name} is not loaded`);
    return this.tensor;
  }

  /** Takes the tensor over: it is disposed with the model. */
  set value(given: Tensor) {
    if (this.tensor !== given) this.tensor?.dispose();
    this.tensor = given;
  }

  dispose(): void {
    this.tensor?.dispose();
    this.tensor = undefined;
  }
}

/** A linear layer with its weight as it is stored, `[out, in]`. */
export class LinearParameter implements LinearWeights {
  readonly transposed = true;
  constructor(
    private readonly weightParameter: Parameter,
    private readonly biasParameter?: Parameter,
  ) {}
  get weight(): Tensor {
    return this.weightParameter.value;
  }
  get bias(): Tensor | undefined {
    return this.biasParameter?.value;
  }
}

/** The parameters a model asks for, by checkpoint name. What is asked for twice is one parameter. */
export class Weights {
  private constructor(
    private readonly known: Map<string, Parameter>,
    private readonly prefix: string,
  ) {}

  static empty(): Weights {
    return new Weights(new Map(), '');
  }

  /** All names. */
  get root(): Weights {
    return new Weights(this.known, '');
  }

  get parameters(): Parameter[] {
    return [...this.known.values()];
  }

  /** The names below one, `model.layers.0`; an empty one is this. */
  at(name: string): Weights {
    return name === '' ? this : new Weights(this.known, this.nameOf(name));
  }

  private nameOf(name: string): string {
    return this.prefix === '' ? name : `${this.prefix}.${name}`;
  }

  /** A tensor as it is stored, under its name or the first other one that the checkpoint has. */
  tensor(name: string, shape: readonly number[], ...otherNames: readonly string[]): Parameter {
    const recipe = (stored: string) => ({
      sources: [{ name: stored, shape }],
      prepare: ([t]: Tensor[]) => t.clone(),
    });
    return this.made(name, [name, ...otherNames].map(recipe));
  }

  /** A parameter that is made when it is loaded, in the first way whose tensors the checkpoint has. */
  made(key: string, recipes: readonly Recipe[]): Parameter {
    const id = this.nameOf(key);
    const known = this.known.get(id);
    if (known !== undefined) return known;
    const named = recipes.map(({ sources, prepare }) => ({
      sources: sources.map(({ name, shape }) => ({ name: this.nameOf(name), shape })),
      prepare,
    }));
    const parameter = new Parameter(id, named);
    this.known.set(id, parameter);
    return parameter;
  }

  /** A linear layer from `into` to `out` channels: `name.weight` `[out, into]` and, with `bias`, `name.bias`. */
  linear(name: string, into: number, out: number, bias = false): LinearWeights {
    return this.joined([[name, out]], into, bias);
  }

  /** Linear layers with one input as one, whose outputs follow each other. */
  joined(
    layers: readonly (readonly [name: string, out: number])[],
    into: number,
    bias = false,
  ): LinearWeights {
    const key = layers.map(([name]) => name).join();
    const sources = (ending: string, ...more: number[]) =>
      layers.map(([name, out]) => ({ name: `${name}.${ending}`, shape: [out, ...more] }));
    const joined = (parts: Tensor[]) => (parts.length === 1 ? parts[0].clone() : concat(parts, 0));
    return new LinearParameter(
      this.made(`${key} weight`, [{ sources: sources('weight', into), prepare: joined }]),
      bias ? this.made(`${key} bias`, [{ sources: sources('bias'), prepare: joined }]) : undefined,
    );
  }
}

const shown = (names: readonly string[]) =>
  names.slice(0, 5).join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '');

const sameShape = (a: readonly number[], b: readonly number[]) =>
  a.length === b.length && a.every((size, i) => size === b[i]);

/** The recipe of each parameter that the checkpoint has the tensors of, all names and shapes checked. */
function plan(parameters: readonly Parameter[], checkpoint: Checkpoint, ignored: readonly RegExp[]) {
  const has = ({ name }: Source) => checkpoint.entries.has(name);
  const chosen = parameters.map((parameter) => ({
    parameter,
    recipe: parameter.recipes.find(({ sources }) => sources.every(has)),
  }));
  const missing = chosen
    .filter(({ recipe }) => recipe === undefined)
    .flatMap(({ parameter }) => parameter.recipes[0].sources.filter((source) => !has(source)));
  if (missing.length > 0) {
    throw new RangeError(`loadModel: the checkpoint lacks ${shown(missing.map(({ name }) => name))}`);
  }
  const sources = chosen.flatMap(({ recipe }) => recipe!.sources);
  for (const { name, shape } of sources) {
    const stored = checkpoint.entries.get(name)!.shape;
    if (!sameShape(stored, shape)) {
      throw new RangeError(`loadModel: ${name} has shape [${stored}]; expected [${shape}] from the config`);
    }
  }
  const used = new Set(sources.map(({ name }) => name));
  const unknown = [...checkpoint.entries.keys()].filter(
    (name) => !used.has(name) && !ignored.some((pattern) => pattern.test(name)),
  );
  if (unknown.length > 0) {
    throw new RangeError(`loadModel: the checkpoint has ${shown(unknown)}, which the model does not know`);
  }
  return chosen.map(({ parameter, recipe }) => ({ parameter, recipe: recipe! }));
}

export interface LoadProgress {
  /** Bytes read and bytes to read. */
  loaded: number;
  total: number;
  /** The parameter that has just been made. */
  name: string;
}

/** Reads the parameters one after the other, so that no more than one is in memory twice. */
export async function loadParameters(
  parameters: readonly Parameter[],
  checkpoint: Checkpoint,
  options: {
    ignored: readonly RegExp[];
    onProgress?: (progress: LoadProgress) => void;
    signal?: AbortSignal;
  },
): Promise<void> {
  const steps = plan(parameters, checkpoint, options.ignored);
  const size = (sources: readonly Source[]) => sources.reduce((n, { name }) => n + checkpoint.bytes(name), 0);
  const total = steps.reduce((n, { recipe }) => n + size(recipe.sources), 0);
  let loaded = 0;
  for (const { parameter, recipe } of steps) {
    options.signal?.throwIfAborted();
    const stored: Stored[] = [];
    for (const { name } of recipe.sources) stored.push(await checkpoint.read(name));
    parameter.value = tidy(() =>
      keep(recipe.prepare(stored.map(({ data, shape, dtype }) => tensor(data, shape, dtype)))),
    );
    loaded += size(recipe.sources);
    options.onProgress?.({ loaded, total, name: parameter.name });
  }
}
