import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { defineConfig, type Options } from 'tsup';

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

/** tsup maps what it adds to a CommonJS file to that file, by the path it has on this machine. */
const relativeMaps: NonNullable<Options['plugins']>[number] = {
  name: 'relative-maps',
  async buildEnd({ writtenFiles }) {
    for (const { name } of writtenFiles.filter((file) => file.name.endsWith('.map'))) {
      const map: { file?: string; sources: string[] } = JSON.parse(await readFile(name, 'utf8'));
      const relative = (to: string) => (path.isAbsolute(to) ? path.relative(path.dirname(name), to) : to);
      if (map.file !== undefined) map.file = relative(map.file);
      map.sources = map.sources.map(relative);
      await writeFile(name, JSON.stringify(map));
    }
  },
};

export default defineConfig([
  {
    entry: { ...entries, ...seams },
    format: ['esm', 'cjs'],
    target: 'es2022',
    splitting: true,
    dts: { entry: entries },
    sourcemap: true,
    shims: true,
    clean: true,
    plugins: [relativeMaps],
  },
  {
    entry: { cli: 'src/cli/index.ts' },
    format: ['esm'],
    target: 'es2022',
    banner: { js: '#!/usr/bin/env node' },
    external: ['benchmark', 'onnxruntime-web', '@observablehq/plot', 'linkedom'],
  },
]);
