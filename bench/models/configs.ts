const common = {
  vocab_size: 8192,
  hidden_size: 384,
  intermediate_size: 1024,
  tie_word_embeddings: false,
};

/** Models of 24 to 26 million parameters, with random weights. */
export const configs = {
  llama: {
    ...common,
    model_type: 'llama',
    num_hidden_layers: 12,
    num_attention_heads: 6,
    num_key_value_heads: 2,
    head_dim: 64,
    rms_norm_eps: 1e-6,
  },
  'mamba-2': {
    ...common,
    model_type: 'mamba2',
    num_hidden_layers: 20,
    num_heads: 12,
    head_dim: 64,
    state_size: 64,
    n_groups: 1,
    conv_kernel: 4,
    expand: 2,
  },
  'gated delta hybrid': {
    ...common,
    model_type: 'gated_deltanet',
    num_hidden_layers: 12,
    num_heads: 6,
    head_dim: 64,
    expand_v: 1,
    attn: { layers: [3, 7, 11], num_heads: 6, num_kv_heads: 2 },
  },
};

const few = { vocab_size: 256, hidden_size: 128, intermediate_size: 256, num_hidden_layers: 4 };

/** The same in small, for long sequences and tests; for the former the delta rule without attention. */
export const small = {
  'small llama': { ...configs.llama, ...few, num_attention_heads: 2, num_key_value_heads: 1 },
  'small mamba-2': { ...configs['mamba-2'], ...few, num_heads: 4 },
  'small gated delta': { ...configs['gated delta hybrid'], ...few, num_heads: 2, attn: undefined },
};
export const smallHybrid = {
  ...configs['gated delta hybrid'],
  ...few,
  num_heads: 2,
  attn: { layers: [1, 3], num_heads: 2, num_kv_heads: 1 },
};
