import { defineConfig } from 'tsup';

export default defineConfig({
  entry: { index: 'src/index.ts', reference: 'src/reference.ts' },
  format: ['esm', 'cjs'],
  target: 'es2022',
  splitting: true,
  dts: true,
  clean: true,
  sourcemap: true,
});
