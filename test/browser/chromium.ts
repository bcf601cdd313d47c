import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Browser, chromium } from 'playwright-core';

const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';
/** Tests of pages are left out where there is no Chromium, except in continuous integration, where they fail. */
export const withoutBrowser = !existsSync(EXECUTABLE) && process.env.CI === undefined;
const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const ISOLATION = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.wasm': 'application/wasm',
};

export const launch = (): Promise<Browser> => chromium.launch({ executablePath: EXECUTABLE, args: ARGS });

/** What is served at a path; undefined is not found. */
export type Files = (pathname: string) => string | Buffer | undefined;

/** Opens `/index.html` of `files`, cross-origin isolated or not, and returns what the page leaves in `globalThis.result`. */
export async function runPage<T>(files: Files, isolated: boolean): Promise<T> {
  const server = createServer(({ url = '/' }, response) => {
    const { pathname } = new URL(url, 'http://localhost');
    const body = files(pathname === '/' ? '/index.html' : pathname);
    const type = TYPES[/\.\w+$/.exec(pathname === '/' ? '.html' : pathname)?.[0] ?? ''];
    response.writeHead(body === undefined ? 404 : 200, {
      'Content-Type': type ?? 'application/octet-stream',
      ...(isolated ? ISOLATION : {}),
    });
    response.end(body);
  }).listen(0, '127.0.0.1');
  const browser = await launch().catch((error) => {
    server.close();
    throw error;
  });
  try {
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(String(error)));
    page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await page.waitForFunction('globalThis.result !== undefined').catch((cause) => {
      throw new Error(`the page has no result: ${errors.join('; ')}`, { cause });
    });
    return await page.evaluate('globalThis.result');
  } finally {
    await browser.close();
    server.close();
  }
}
