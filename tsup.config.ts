import { defineConfig } from 'tsup';

const entries = {
  index: 'src/index.ts',
  models: 'src/models/index.ts',
  nn: 'src/nn/layers/index.ts',
  reference: 'src/reference.ts',
};
/** Where the code is cut into files: a bundler leaves out the families that an app does not use. */
const seams = Object.fromEntries(
  [
    ...['attention', 'sparse', 'linear', 'ssm', 'moe', 'nn'].map((family) => `${family}/index`),
    'linear/recurrent',
    'ssm/family',
    'ssm/silu.reference',
    'ssm/ssd',
  ].map((file) => [`parts/${file}`, `src/${file}.ts`]),
);

export default defineConfig([
  {
    entry: { ...entries, ...seams },
    format: ['esm', 'cjs'],
    target: 'es2022',
    splitting: true,
    dts: { entry: entries },
    sourcemap: true,
    shims: true,
  },
  {
    entry: { cli: 'src/cli/index.ts' },
    format: ['esm'],
    target: 'es2022',
    banner: { js: '#!/usr/bin/env node' },
    external: ['benchmark', 'onnxruntime-web', '@observablehq/plot', 'linkedom'],
  },
]);
