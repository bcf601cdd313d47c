import { readFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { expect, it } from 'vitest';
import budget from './sizes.json';

const root = path.resolve(import.meta.dirname, '../..');
const read = (file: string) => readFileSync(path.join(root, file), 'utf8');

/** kB gzipped of an app that has this one line, minified, tfjs not counted. Needs `npm run build`. */
async function sizeOf(contents: string): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: path.join(root, 'dist') },
    bundle: true,
    minify: true,
    format: 'esm',
    external: ['@tensorflow/*'],
    logLevel: 'error',
    write: false,
  });
  return gzipSync(outputFiles[0].contents).length / 1000;
}

it.each(Object.entries(budget.entries))('the entry %s is within its budget', async (entry, limit) => {
  expect(await sizeOf(`export * from './${entry}.js'`)).toBeLessThan(limit);
});

it.each(Object.entries(budget.imports))(
  'an app that imports %s alone leaves out what it does not need',
  async (name, limit) => {
    expect(await sizeOf(`export { ready, ${name} } from './index.js'`)).toBeLessThan(limit);
  },
);

it('the README states the size of the whole library', async () => {
  const [, stated] = /whole library is (\d+) kB/.exec(read('README.md'))!;
  const size = await sizeOf(`export * from './index.js'`);
  expect(Math.abs(Number(stated) / size - 1)).toBeLessThan(0.03);
});
