import { abs, keep, max, memory, tensor, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { createModel, loadModel, type Model } from '../../src/models';
import { uniform } from '../../src/random';
import { distance, distanceInParts, idsOf } from './harness';
import { randomWeights, writeSafetensors } from './write';

const small = {
  vocab_size: 17,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  hidden_act: 'silu',
  rms_norm_eps: 1e-6,
  tie_word_embeddings: false,
};

/** Configs by case; of each, some names and shapes of tensors as published checkpoints have them. */
const cases: Record<string, { config: object; tensors: Record<string, readonly number[]> }> = {
  olmoe: {
    config: {
      ...small,
      model_type: 'olmoe',
      num_experts: 4,
      num_experts_per_tok: 2,
      norm_topk_prob: false,
      clip_qkv: 0.5,
    },
    tensors: {
      'model.layers.0.self_attn.q_norm.weight': [16],
      'model.layers.0.self_attn.k_norm.weight': [8],
      'model.layers.2.mlp.experts.3.down_proj.weight': [16, 24],
      'model.layers.2.mlp.gate.weight': [4, 16],
    },
  },
  gptOss: {
    config: {
      ...small,
      model_type: 'gpt_oss',
      head_dim: 8,
      num_local_experts: 4,
      num_experts_per_tok: 2,
      sliding_window: 5,
      attention_bias: true,
      rope_parameters: {
        rope_type: 'yarn',
        rope_theta: 150000,
        factor: 32,
        beta_fast: 32,
        beta_slow: 1,
        truncate: false,
        original_max_position_embeddings: 4096,
      },
    },
    tensors: {
      'model.layers.0.self_attn.sinks': [4],
      'model.layers.0.self_attn.o_proj.bias': [16],
      'model.layers.1.mlp.router.bias': [4],
      'model.layers.1.mlp.experts.gate_up_proj': [4, 16, 48],
      'model.layers.1.mlp.experts.down_proj_bias': [4, 16],
    },
  },
  jamba: {
    config: {
      ...small,
      model_type: 'jamba',
      attn_layer_period: 3,
      attn_layer_offset: 1,
      expert_layer_period: 2,
      expert_layer_offset: 1,
      num_experts: 4,
      num_experts_per_tok: 2,
      mamba_d_state: 6,
      mamba_d_conv: 4,
      mamba_expand: 2,
      mamba_dt_rank: 'auto',
    },
    tensors: {
      'model.layers.0.mamba.dt_layernorm.weight': [1],
      'model.layers.0.mamba.b_layernorm.weight': [6],
      'model.layers.0.mamba.A_log': [32, 6],
      'model.layers.0.mamba.conv1d.bias': [32],
      'model.layers.0.feed_forward.gate_proj.weight': [24, 16],
      'model.layers.1.self_attn.q_proj.weight': [16, 16],
      'model.layers.1.feed_forward.router.weight': [4, 16],
      'model.layers.1.feed_forward.experts.0.up_proj.weight': [24, 16],
      'model.layers.2.pre_ff_layernorm.weight': [16],
      'model.final_layernorm.weight': [16],
    },
  },
  falconMamba: {
    config: {
      model_type: 'falcon_mamba',
      vocab_size: 17,
      hidden_size: 16,
      num_hidden_layers: 2,
      state_size: 4,
      conv_kernel: 4,
      expand: 2,
      time_step_rank: 3,
      tie_word_embeddings: true,
      mixer_rms_eps: 1e-6,
    },
    tensors: {
      'backbone.embeddings.weight': [17, 16],
      'backbone.layers.1.mixer.x_proj.weight': [11, 32],
      'backbone.norm_f.weight': [16],
    },
  },
  lfm2: {
    config: {
      ...small,
      model_type: 'lfm2',
      norm_eps: 1e-5,
      conv_L_cache: 3,
      block_auto_adjust_ff_dim: true,
      block_ffn_dim_multiplier: 1,
      block_multiple_of: 8,
      layer_types: ['conv', 'full_attention', 'conv'],
      tie_word_embeddings: true,
    },
    tensors: {
      'model.layers.0.conv.conv.weight': [16, 1, 3],
      'model.layers.0.conv.in_proj.weight': [48, 16],
      'model.layers.0.operator_norm.weight': [16],
      'model.layers.1.self_attn.out_proj.weight': [16, 16],
      'model.layers.1.self_attn.q_layernorm.weight': [4],
      'model.layers.1.feed_forward.w2.weight': [16, 16],
      'model.embedding_norm.weight': [16],
    },
  },
  recurrentGemma: {
    config: {
      ...small,
      model_type: 'recurrent_gemma',
      hidden_activation: 'gelu_pytorch_tanh',
      num_key_value_heads: 1,
      attention_window_size: 6,
      conv1d_width: 4,
      logits_soft_cap: 30,
      lru_width: 24,
      tie_word_embeddings: true,
    },
    tensors: {
      'model.layers.0.temporal_block.conv_1d.bias': [24],
      'model.layers.0.temporal_block.rg_lru.recurrent_gate_weight': [4, 6, 6],
      'model.layers.2.temporal_block.o_proj.bias': [16],
      'model.layers.2.mlp_block.down_proj.weight': [16, 12],
      'model.final_norm.weight': [16],
    },
  },
  olmoHybrid: {
    config: {
      ...small,
      model_type: 'olmo_hybrid',
      num_hidden_layers: 4,
      linear_num_key_heads: 2,
      linear_num_value_heads: 2,
      linear_key_head_dim: 6,
      linear_value_head_dim: 12,
      linear_allow_neg_eigval: true,
      rope_parameters: null,
    },
    tensors: {
      'model.layers.0.linear_attn.q_conv1d.weight': [12, 1, 4],
      'model.layers.0.linear_attn.v_conv1d.weight': [24, 1, 4],
      'model.layers.0.linear_attn.g_proj.weight': [24, 16],
      'model.layers.0.input_layernorm.weight': [16],
      'model.layers.3.self_attn.q_norm.weight': [16],
      'model.layers.3.post_feedforward_layernorm.weight': [16],
    },
  },
  kimiLinear: {
    config: {
      ...small,
      model_type: 'kimi_linear',
      linear_attn_config: {
        full_attn_layers: [2],
        kda_layers: [1, 3],
        head_dim: 8,
        num_heads: 2,
        short_conv_kernel_size: 4,
      },
      kv_lora_rank: 8,
      q_lora_rank: null,
      qk_nope_head_dim: 4,
      qk_rope_head_dim: 4,
      v_head_dim: 6,
      moe_intermediate_size: 8,
      num_experts: 8,
      num_experts_per_token: 2,
      num_shared_experts: 1,
      num_expert_group: 1,
      topk_group: 1,
      routed_scaling_factor: 2.5,
      moe_renormalize: true,
      first_k_dense_replace: 1,
    },
    tensors: {
      'model.layers.0.self_attn.A_log': [1, 1, 2, 1],
      'model.layers.0.self_attn.f_b_proj.weight': [16, 8],
      'model.layers.0.self_attn.k_conv1d.weight': [16, 1, 4],
      'model.layers.0.mlp.up_proj.weight': [24, 16],
      'model.layers.1.self_attn.kv_a_proj_with_mqa.weight': [12, 16],
      'model.layers.1.self_attn.q_proj.weight': [32, 16],
      'model.layers.1.block_sparse_moe.experts.7.w2.weight': [16, 8],
      'model.layers.1.block_sparse_moe.gate.e_score_correction_bias': [8],
      'model.layers.1.block_sparse_moe.shared_experts.gate_proj.weight': [8, 16],
    },
  },
  hgrn2: {
    config: {
      model_type: 'hgrn2',
      vocab_size: 17,
      hidden_size: 16,
      intermediate_size: 24,
      num_hidden_layers: 3,
      expand_ratio: 4,
      use_lower_bound: true,
    },
    tensors: {
      'model.lower_bounds': [3, 16],
      'model.layers.0.attn.f_proj.weight': [16, 16],
      'model.layers.2.attn.g_norm.weight': [16],
    },
  },
  gsa: {
    config: {
      model_type: 'gsa',
      vocab_size: 17,
      hidden_size: 16,
      intermediate_size: 24,
      num_hidden_layers: 2,
      num_heads: 4,
      num_kv_heads: 2,
      num_slots: 6,
    },
    tensors: {
      'model.layers.0.attn.f_proj.weight': [12, 16],
      'model.layers.1.attn.g_norm.weight': [16],
    },
  },
  rwkv6: {
    config: {
      model_type: 'rwkv6',
      vocab_size: 17,
      hidden_size: 16,
      num_hidden_layers: 2,
      num_heads: 2,
      proj_low_rank_dim: 3,
      gate_low_rank_dim: 5,
    },
    tensors: {
      'model.layers.0.pre_norm.weight': [16],
      'model.layers.0.attn.x_proj.0.linear.weight': [15, 16],
      'model.layers.0.attn.x_proj.2.weight': [16, 15],
      'model.layers.0.attn.w_proj.linear.lora.2.bias': [8],
      'model.layers.1.attn.bonus': [2, 4],
      'model.layers.1.ffn.key.linear.weight': [64, 16],
      'model.layers.1.ffn.receptance.mu': [16],
    },
  },
  nsa: {
    config: {
      model_type: 'nsa',
      vocab_size: 17,
      hidden_size: 16,
      intermediate_size: 24,
      num_hidden_layers: 2,
      num_heads: 4,
      num_kv_heads: 2,
      head_dim: 8,
      block_size: 2,
      block_counts: 4,
      window_size: 3,
    },
    tensors: {
      'model.layers.0.attn.g_proj.weight': [12, 16],
      'model.layers.1.attn.k_proj.weight': [16, 16],
    },
  },
  deepseekV32: {
    config: {
      ...small,
      model_type: 'deepseek_v32',
      num_key_value_heads: 4,
      num_hidden_layers: 2,
      kv_lora_rank: 8,
      q_lora_rank: 6,
      qk_nope_head_dim: 4,
      qk_rope_head_dim: 4,
      v_head_dim: 6,
      index_n_heads: 2,
      index_head_dim: 8,
      index_topk: 4,
      moe_intermediate_size: 8,
      n_routed_experts: 8,
      num_experts_per_tok: 2,
      n_shared_experts: 1,
      n_group: 4,
      topk_group: 2,
      first_k_dense_replace: 1,
      routed_scaling_factor: 2.5,
    },
    tensors: {
      'model.layers.0.self_attn.indexer.wq_b.weight': [16, 6],
      'model.layers.0.self_attn.indexer.wk.weight': [8, 16],
      'model.layers.0.self_attn.indexer.k_norm.bias': [8],
      'model.layers.0.self_attn.indexer.weights_proj.weight': [2, 16],
      'model.layers.1.mlp.gate.e_score_correction_bias': [8],
    },
  },
  zamba2: {
    config: {
      ...small,
      model_type: 'zamba2',
      hidden_act: 'gelu',
      num_hidden_layers: 4,
      layers_block_type: ['mamba', 'hybrid', 'mamba', 'hybrid'],
      num_key_value_heads: 4,
      num_mem_blocks: 1,
      adapter_rank: 3,
      use_mem_rope: true,
      n_mamba_heads: 4,
      mamba_ngroups: 2,
      mamba_d_state: 4,
      mamba_d_conv: 4,
      mamba_expand: 2,
      time_step_min: 0.001,
      tie_word_embeddings: true,
    },
    tensors: {
      'model.layers.0.mamba.in_proj.weight': [84, 16],
      'model.layers.1.linear.weight': [16, 16],
      'model.layers.1.shared_transformer.self_attn.q_proj.weight': [32, 32],
      'model.layers.1.shared_transformer.feed_forward.gate_up_proj_adapter_list.1.0.weight': [3, 16],
      'model.layers.3.mamba_decoder.mamba.norm.weight': [32],
      'model.layers.3.mamba_decoder.input_layernorm.weight': [16],
    },
  },
  samba: {
    config: {
      model_type: 'samba',
      vocab_size: 17,
      hidden_size: 16,
      num_hidden_layers: 2,
      state_size: 4,
      hidden_ratio: 1,
      attn: { layers: [1], num_heads: 4, num_kv_heads: 2, window_size: 5 },
    },
    tensors: {
      'model.layers.0.mixer.in_proj.weight': [64, 16],
      'model.layers.1.mixer.k_proj.weight': [8, 16],
      'model.layers.1.mlp.gate_proj.weight': [256, 16],
      'model.norm_f.weight': [16],
    },
  },
  falconH1: {
    config: {
      ...small,
      model_type: 'falcon_h1',
      head_dim: 8,
      mamba_d_ssm: 24,
      mamba_n_heads: 4,
      mamba_d_head: 6,
      mamba_n_groups: 2,
      mamba_d_state: 4,
      mamba_d_conv: 4,
      mamba_rms_norm: true,
      mamba_norm_before_gate: false,
      attention_in_multiplier: 0.9,
      attention_out_multiplier: 1.1,
      ssm_in_multiplier: 1.2,
      ssm_out_multiplier: 0.8,
      ssm_multipliers: [0.9, 1.1, 0.8, 1.2, 0.7],
      key_multiplier: 0.6,
      mlp_multipliers: [0.9, 1.3],
      embedding_multiplier: 2,
      lm_head_multiplier: 0.5,
    },
    tensors: {
      'model.layers.0.mamba.in_proj.weight': [68, 16],
      'model.layers.0.mamba.norm.weight': [24],
      'model.layers.0.self_attn.q_proj.weight': [32, 16],
      'model.layers.0.feed_forward.down_proj.weight': [16, 24],
    },
  },
  kda: {
    config: {
      model_type: 'kda',
      vocab_size: 17,
      hidden_size: 16,
      intermediate_size: 24,
      num_hidden_layers: 3,
      num_heads: 2,
      head_dim: 4,
      expand_v: 2,
      attn: { layers: [1], num_heads: 4, num_kv_heads: 2, window_size: 5 },
    },
    tensors: {
      'model.layers.0.attn.f_proj.1.weight': [8, 8],
      'model.layers.0.attn.g_proj.1.bias': [16],
      'model.layers.0.attn.dt_bias': [8],
      'model.layers.1.attn.k_proj.weight': [8, 16],
    },
  },
};

const sources = (model: Model) => model.parameters.flatMap(({ recipes }) => recipes[0].sources);

describe.each(Object.entries(cases))('%s', (_, { config, tensors }) => {
  const weights = randomWeights(sources(createModel(config)));
  const file = writeSafetensors(weights);
  const random = uniform(3);
  const rows = Array.from({ length: 2 }, () => Array.from({ length: 13 }, () => Math.floor(17 * random())));

  it('asks for the tensors of published checkpoints', () => {
    const shapes = Object.fromEntries(Object.entries(weights).map(([name, { shape }]) => [name, shape]));
    expect(shapes).toMatchObject(tensors);
  });

  it('is the same whole, in parts and token by token, and every weight shows', async () => {
    const before = memory().numTensors;
    const model = await loadModel(config, file);
    tidy(() => {
      const ids = idsOf(rows);
      const logits = model.forward(ids);
      const largest = max(abs(logits)).dataSync()[0];
      expect(largest).toBeGreaterThan(0.01);
      for (const sizes of [Array(13).fill(1), [6, 1, 4, 2]]) {
        expect(distanceInParts(model, ids, logits, sizes), `${sizes}`).toBeLessThan(1e-5 * (1 + largest));
      }
      for (const parameter of model.parameters) {
        const { shape } = parameter.value;
        const kept = parameter.value.dataSync().slice();
        parameter.value = keep(
          tensor(
            kept.map((x, i) => x + 0.1 * (1 + (i % 3))),
            shape,
          ),
        );
        const changed = tidy(() => distance(model.forward(ids), logits));
        // latent attention has its second projection twice, once for later tokens
        if (!/kv_b_proj/.test(parameter.name)) expect(changed, parameter.name).toBeGreaterThan(1e-7);
        parameter.value = keep(tensor(kept, shape));
      }
    });
    model.dispose();
    expect(memory().numTensors).toBe(before);
  });
});
