import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { build } from 'esbuild';
import { expect, it } from 'vitest';
import { catalog } from '../../src/catalog';
import { runPage, withoutBrowser } from './chromium';
import type { PageResult } from './page';

const wasm = path.dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm'));

async function bundle(): Promise<string> {
  const entry = new URL('./page.ts', import.meta.url).pathname;
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, format: 'esm', write: false });
  return outputFiles[0].text;
}

it.skipIf(withoutBrowser).each([
  ['on one thread', false, { count: 1, reason: expect.stringContaining('not cross-origin isolated') }],
  ['isolated, on all cores', true, { count: expect.any(Number), reason: 'one per core' }],
])(
  'every op passes in Chromium, %s',
  async (_, isolated, threads) => {
    const script = await bundle();
    const result = await runPage<PageResult>((file) => {
      if (file.startsWith('/wasm/')) return readFileSync(path.join(wasm, path.basename(file)));
      return file === '/page.js' ? script : '<script type="module" src="/page.js"></script>';
    }, isolated);
    expect(result.failed).toEqual([]);
    expect(result.ops).toBe(catalog.length);
    expect(result.info.threads).toEqual(threads);
    if (isolated) expect(result.info.threads.count).toBeGreaterThan(1);
  },
  300_000,
);
