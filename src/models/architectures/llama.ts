import type { Architecture } from './common';
import { attentionSpec, feedForwardSpec, transformer } from './common';

/** Llama, and Mistral, which is Llama with a window. */
export const llama: Architecture = (config) =>
  transformer(
    config,
    () => attentionSpec(config, { window: config.optional('sliding_window') }),
    () => feedForwardSpec(config),
  );
