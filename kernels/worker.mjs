// Bundles what the workers of a thread pool run, src/runtime/worker.ts, to text in src/generated/worker.ts.

import { mkdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const { outputFiles } = await build({
  entryPoints: ['src/runtime/worker.ts'],
  bundle: true,
  minify: true,
  write: false,
  target: 'es2022',
  platform: 'node',
});
await mkdir('src/generated', { recursive: true });
await writeFile(
  'src/generated/worker.ts',
  `export const WORKER_SOURCE = ${JSON.stringify(outputFiles[0].text)};\n`,
);
