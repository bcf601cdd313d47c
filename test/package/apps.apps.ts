import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import webpack from 'webpack';
import { runPage } from '../browser/chromium';

const TFJS = '4.22.0';
const root = path.resolve(import.meta.dirname, '../..');
const guide = readFileSync(path.join(root, 'docs/guide/install.md'), 'utf8');
const CHECK = path.join(import.meta.dirname, 'apps/check.js');
const RESULT = `
import { check } from './check.js';
globalThis.result = check();
`;
const POST = `
import { check } from './check.js';
postMessage(check());
`;
const START = '<script type="module" src="./main.js"></script>';

/** The code of the guide that is for `purpose`. */
function blockFor(purpose: string): string {
  const block = new RegExp(`^\`\`\`\\w+ ${purpose}\n([\\s\\S]*?)^\`\`\`$`, 'm').exec(guide);
  if (block === null) throw new Error(`docs/guide/install.md has no block for ${purpose}`);
  return block[1];
}

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'linnet-apps-'));
  const npm = (args: string[], cwd: string) => execFileSync('npm', args, { cwd, stdio: 'pipe' });
  npm(['pack', '--ignore-scripts', '--pack-destination', folder], root);
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'));
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  const tfjs = ['core', 'backend-wasm'].map((part) => `@tensorflow/tfjs-${part}@${TFJS}`);
  npm(['install', '--no-audit', '--no-fund', `./${tarball}`, ...tfjs], folder);
}, 240_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Writes the sources of an app and returns their folder. */
function writeApp(name: string, sources: Record<string, string>): string {
  const app = path.join(folder, name);
  mkdirSync(app);
  cpSync(CHECK, path.join(app, 'check.js'));
  for (const [file, text] of Object.entries(sources)) writeFileSync(path.join(app, file), text);
  return app;
}

async function bundleWithVite(app: string, minify: boolean | 'esbuild'): Promise<string> {
  await build({
    root: app,
    configFile: false,
    logLevel: 'error',
    build: { minify },
    worker: { format: 'es' },
  });
  return path.join(app, 'dist');
}

async function bundleWithWebpack(app: string, minimize: boolean): Promise<string> {
  const output = path.join(app, 'dist');
  const compiler = webpack({
    mode: 'production',
    context: app,
    entry: './main.js',
    output: { path: output },
    optimization: { minimize },
    performance: false,
  })!;
  const stats = await new Promise<webpack.Stats>((resolve, reject) =>
    compiler.run((error, result) => (error === null ? resolve(result!) : reject(error))),
  );
  expect(stats.toJson({ all: false, errors: true, warnings: true })).toMatchObject({
    errors: [],
    warnings: [],
  });
  cpSync(path.join(app, 'index.html'), path.join(output, 'index.html'));
  return output;
}

/** Loads a folder as a page and expects attention to be right. */
async function expectRight(
  served: string,
  isolated: boolean,
  { threads, reason }: { threads: number; reason: string } = isolated
    ? { threads: os.availableParallelism(), reason: 'one per core' }
    : { threads: 1, reason: 'the page is not cross-origin isolated, so threads cannot share memory' },
) {
  const result = await runPage<{ error: number }>((name) => {
    const file = path.join(served, path.normalize(name));
    return existsSync(file) ? readFileSync(file) : undefined;
  }, isolated);
  const size = 300 * 4 * 32;
  expect(result).toEqual({ error: expect.any(Number), size, backend: 'wasm', threads, reason });
  expect(result.error).toBeGreaterThan(0);
  expect(result.error).toBeLessThan(1e-5);
}

describe.each([
  ['vite', bundleWithVite],
  ['webpack', bundleWithWebpack],
] as const)('%s', (name, bundle) => {
  it.each([
    ['minified', false],
    ['isolated, not minified', true],
  ])('an app, %s', async (_, isolated) => {
    const app = writeApp(`${name}-${isolated}`, {
      'index.html': START,
      'main.js': blockFor(name) + RESULT,
    });
    await expectRight(await bundle(app, !isolated), isolated);
  });

  it('an app, isolated and minified, runs on one thread and says why', async () => {
    const app = writeApp(`${name}-both`, { 'index.html': START, 'main.js': blockFor(name) + RESULT });
    const reason = expect.stringMatching(
      /^tfjs's threaded build did not start: .*is not defined \(minifiers/,
    );
    await expectRight(await bundle(app, true), true, { threads: 1, reason });
  });

  it('a web worker, isolated and minified, runs on one thread and says why', async () => {
    const app = writeApp(`${name}-worker-both`, {
      'index.html': START,
      'main.js': `${blockFor('worker')}worker.onmessage = ({ data }) => { globalThis.result = data; };\n`,
      'worker.js': blockFor(name) + POST,
    });
    const reason = expect.stringMatching(/^tfjs's threaded build did not start: /);
    await expectRight(await bundle(app, true), true, { threads: 1, reason });
  });

  it.each([
    ['minified', false],
    ['isolated, not minified', true],
  ])('a web worker, %s', async (_, isolated) => {
    const app = writeApp(`${name}-worker-${isolated}`, {
      'index.html': START,
      'main.js': `${blockFor('worker')}worker.onmessage = ({ data }) => { globalThis.result = data; };\n`,
      'worker.js': blockFor(name) + POST,
    });
    await expectRight(await bundle(app, !isolated), isolated);
  });
});

it('an app built with Vite, isolated and minified by esbuild, keeps its threads', async () => {
  const app = writeApp('vite-esbuild', { 'index.html': START, 'main.js': blockFor('vite') + RESULT });
  await expectRight(await bundleWithVite(app, 'esbuild'), true);
});

it.each([false, true])('a page without a bundler, isolated: %s', async (isolated) => {
  cpSync(CHECK, path.join(folder, 'check.js'));
  writeFileSync(path.join(folder, 'index.html'), blockFor('page').replace(/(?=<\/script>\s*$)/, RESULT));
  await expectRight(folder, isolated);
});
