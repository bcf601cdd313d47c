import type { Config } from '../config';
import type { ModelSpec } from '../spec';
import type { Architecture } from './common';
import { deepseekV3, deepseekV32 } from './deepseek';
import { deltaNet, gatedDeltaNet, kdaNet, olmoHybrid, qwen3Next } from './delta';
import { gemma2 } from './gemma2';
import { gptOss } from './gptOss';
import { jamba } from './jamba';
import { kimiLinear } from './kimiLinear';
import { lfm2 } from './lfm2';
import { glaNet, gsaNet, hgrn2Net, nsaNet, retNet } from './linear';
import { llama } from './llama';
import { falconMamba, mamba, samba } from './mamba';
import { bamba, falconH1, mamba2 } from './mamba2';
import { minimax } from './minimax';
import { mixtral, olmoe, qwen3Moe } from './moe';
import { recurrentGemma } from './recurrentGemma';
import { rwkv4, rwkv6, rwkv7 } from './rwkv';
import { zamba2 } from './zamba2';

/** By the `model_type` of their configs. */
export const architectures: Readonly<Record<string, Architecture>> = {
  bamba,
  deepseek_v3: deepseekV3,
  deepseek_v32: deepseekV32,
  delta_net: deltaNet,
  falcon_h1: falconH1,
  falcon_mamba: falconMamba,
  gated_deltanet: gatedDeltaNet,
  gemma2,
  gla: glaNet,
  gpt_oss: gptOss,
  gsa: gsaNet,
  hgrn2: hgrn2Net,
  jamba,
  kda: kdaNet,
  kimi_linear: kimiLinear,
  lfm2,
  llama,
  mamba,
  mamba2,
  minimax,
  mistral: llama,
  mixtral,
  nsa: nsaNet,
  olmo_hybrid: olmoHybrid,
  olmoe,
  qwen3_moe: qwen3Moe,
  qwen3_next: qwen3Next,
  recurrent_gemma: recurrentGemma,
  retnet: retNet,
  rwkv: rwkv4,
  rwkv6,
  rwkv7,
  samba,
  zamba2,
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
  return { endTokens: config.numbers('eos_token_id'), ...architectures[type](config) };
}
