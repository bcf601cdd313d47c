import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { expect, it } from 'vitest';
import { catalog } from '../../src/catalog';
import type { PageResult } from './page';

const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';
const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-sync'];
const ISOLATION = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};
const wasm = path.dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm'));

async function bundle(): Promise<string> {
  const entry = new URL('./page.ts', import.meta.url).pathname;
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, format: 'esm', write: false });
  return outputFiles[0].text;
}

/** Opens a page that runs `script`, cross-origin isolated or not, and returns what it found. */
async function runPage(script: string, isolated: boolean): Promise<PageResult> {
  const server = createServer(({ url = '/' }, response) => {
    const send = (type: string, body: string | Buffer) => {
      response.writeHead(200, { 'Content-Type': type, ...(isolated ? ISOLATION : {}) });
      response.end(body);
    };
    if (url.startsWith('/wasm/')) send('application/wasm', readFileSync(path.join(wasm, path.basename(url))));
    else if (url === '/page.js') send('text/javascript', script);
    else send('text/html', '<script type="module" src="/page.js"></script>');
  }).listen(0, '127.0.0.1');
  const browser = await chromium.launch({ executablePath: EXECUTABLE, args: ARGS });
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await page.waitForFunction('globalThis.result !== undefined');
    return await page.evaluate('globalThis.result');
  } finally {
    await browser.close();
    server.close();
  }
}

it.each([
  ['on one thread', false, { count: 1, reason: expect.stringContaining('not cross-origin isolated') }],
  ['isolated, on all cores', true, { count: expect.any(Number), reason: 'one per core' }],
])(
  'every op passes in Chromium, %s',
  async (_, isolated, threads) => {
    const result = await runPage(await bundle(), isolated);
    expect(result.failed).toEqual([]);
    expect(result.ops).toBe(catalog.length);
    expect(result.info.threads).toEqual(threads);
    if (isolated) expect(result.info.threads.count).toBeGreaterThan(1);
  },
  300_000,
);
