import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { build } from 'esbuild';
import { expect, it } from 'vitest';
import { catalog } from '../../src/catalog';
import type { Info } from '../../src/index';
import { runPage, withoutBrowser } from './chromium';
import type { PageResult } from './page';

const wasm = path.dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm'));

async function bundle(name: string): Promise<string> {
  const entry = new URL(`./${name}.ts`, import.meta.url).pathname;
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, format: 'esm', write: false });
  return outputFiles[0].text;
}

function run<T>(script: string, isolated: boolean): Promise<T> {
  return runPage<T>((file) => {
    if (file.startsWith('/wasm/')) return readFileSync(path.join(wasm, path.basename(file)));
    return file === '/page.js' ? script : '<script type="module" src="/page.js"></script>';
  }, isolated);
}

it.skipIf(withoutBrowser).each([
  ['on one thread', false, { count: 1, reason: expect.stringContaining('not cross-origin isolated') }],
  ['isolated, on all cores', true, { count: expect.any(Number), reason: 'one per core' }],
])(
  'every op passes in Chromium, %s',
  async (_, isolated, threads) => {
    const result = await run<PageResult>(await bundle('page'), isolated);
    expect(result.failed).toEqual([]);
    expect(result.ops).toBe(catalog.length);
    expect(result.info.threads).toEqual(threads);
    if (isolated) expect(result.info.threads.count).toBeGreaterThan(1);
  },
  300_000,
);

it.skipIf(withoutBrowser)(
  "computes on one thread where tfjs's threaded build does not start, and says why",
  async () => {
    const script = await bundle('readyPage');
    // what minifiers make of it: in the worker there is no such name
    const minified = script.replace('typeof _scriptDir !== "undefined" && _scriptDir', '_scriptDir');
    expect(minified).not.toBe(script);
    const threads = await run<Info['threads']>(minified, true);
    expect(threads.count).toBe(1);
    expect(threads.reason).toMatch(
      /threaded build did not start: .*_scriptDir is not defined \(minifiers break/,
    );
  },
  120_000,
);
