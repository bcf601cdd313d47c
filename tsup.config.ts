import { defineConfig } from 'tsup';

export default defineConfig([
  {
    entry: {
      index: 'src/index.ts',
      models: 'src/models/index.ts',
      nn: 'src/nn/layers/index.ts',
      reference: 'src/reference.ts',
    },
    format: ['esm', 'cjs'],
    target: 'es2022',
    splitting: true,
    dts: true,
    sourcemap: true,
    shims: true,
  },
  {
    entry: { cli: 'src/cli/index.ts' },
    format: ['esm'],
    target: 'es2022',
    banner: { js: '#!/usr/bin/env node' },
    external: ['benchmark', 'onnxruntime-web'],
  },
]);
