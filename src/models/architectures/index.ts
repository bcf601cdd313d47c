import type { Config } from '../config';
import type { ModelSpec } from '../spec';
import type { Architecture } from './common';
import { gemma2 } from './gemma2';
import { llama } from './llama';
import { mixtral, olmoe, qwen3Moe } from './moe';

/** By the `model_type` of their configs. */
export const architectures: Readonly<Record<string, Architecture>> = {
  gemma2,
  llama,
  mistral: llama,
  mixtral,
  olmoe,
  qwen3_moe: qwen3Moe,
};

/**
 * The description of a model from its config.
 *
 * @throws RangeError for a `model_type` that is none of `architectures`
 */
export function modelSpec(config: Config): ModelSpec {
  const type = config.string('model_type');
  if (!Object.hasOwn(architectures, type)) {
    const known = Object.keys(architectures).join(', ');
    throw new RangeError(`config: model_type is '${type}'; expected one of ${known}`);
  }
  return architectures[type](config);
}
