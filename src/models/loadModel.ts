import { modelSpec } from './architectures';
import { Config } from './config';
import { Model } from './model';
import { type LoadProgress, loadParameters } from './parameters';
import { openSafetensors, type Safetensors } from './safetensors';
import type { ModelSpec } from './spec';

export interface LoadModelOptions {
  /** Called after each tensor. */
  onProgress?: (progress: LoadProgress) => void;
  signal?: AbortSignal;
  /** What to do about tensors the model does not know, or the pattern of those that may be there; default `'error'`. */
  unknownTensors?: 'error' | 'ignore' | RegExp;
}

/**
 * Loads a decoder language model.
 *
 * Headers are read first and every name and shape is checked before any weight is read; then tensors are read one by
 * one, F32, F16 or BF16 alike, and held as float32. Dispose the model when it is done with.
 *
 * @param config the `config.json` of the checkpoint, parsed or as text, or the description of a model
 * @param safetensors a safetensors file, the index of a sharded one, or all shards: paths, URLs, Files, Blobs or bytes
 * @throws RangeError for an unknown architecture, missing, unknown or misshapen tensors, all named
 * @throws TypeError for a config without a key it needs, or a file that is no safetensors file
 */
export async function loadModel(
  config: string | object | ModelSpec,
  safetensors: Safetensors,
  options: LoadModelOptions = {},
): Promise<Model> {
  const { onProgress, signal, unknownTensors = 'error' } = options;
  const model = createModel(config);
  const checkpoint = await openSafetensors(safetensors, signal);
  try {
    const allowed = unknownTensors === 'ignore' ? [/^/] : unknownTensors === 'error' ? [] : [unknownTensors];
    const ignored = [...allowed, ...(model.spec.ignored ?? [])];
    await loadParameters(model.parameters, checkpoint, { ignored, onProgress, signal });
  } catch (error) {
    model.dispose();
    throw error;
  } finally {
    await checkpoint.close();
  }
  return model;
}

/** A model without weights: its parameters tell the names and shapes of the tensors it needs. */
export function createModel(config: string | object | ModelSpec): Model {
  const isSpec = typeof config === 'object' && 'layers' in config && 'embedding' in config;
  return new Model(isSpec ? (config as ModelSpec) : modelSpec(Config.from(config)));
}
