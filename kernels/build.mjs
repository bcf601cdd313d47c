// Compiles every kernels/<family>/index.ts twice (plain and relaxed SIMD), checks the binaries and writes them,
// with the types of their entry points, to src/generated/<family>.ts.

import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import v8 from 'node:v8';
import asc from 'assemblyscript/asc';
import { checkKernelBinary } from './check.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const OPTIONS = [
  '-O3',
  '--noAssert',
  '--converge',
  '--runtime',
  'stub',
  '--importMemory',
  '--enable',
  'simd',
];
const LEVELS = { simd: [], relaxed: ['--enable', 'relaxed-simd'] };

async function compile(family, level, extra = []) {
  const entry = `kernels/${family}/index.ts`;
  const files = new Map();
  const { error, stderr } = await asc
    .main([entry, '--outFile', 'out.wasm', '--bindings', 'raw', ...extra, ...OPTIONS, ...LEVELS[level]], {
      writeFile: (name, contents) => files.set(name, contents),
      readFile: undefined,
    })
    .catch((error) => ({ error, stderr: '' }));
  if (error) throw new Error(`${entry}: ${error.message}\n${stderr}`);
  return files;
}

/** The entry points as asc declares them: `export declare function name(a: number, ...): void;` */
function entryPoints(declarations) {
  return [...declarations.matchAll(/^ {2}(?:export (?:declare )?function )?(\w+)\(([^)]*)\): (\w+);/gm)]
    .map(([, name, args, result]) => `  ${name}(${args}): ${result};`)
    .join('\n');
}

async function buildFamily(family) {
  const binaries = {};
  let declarations = '';
  for (const level of Object.keys(LEVELS)) {
    const files = await compile(family, level);
    const binary = files.get('out.wasm');
    await checkKernelBinary(`${family} (${level})`, binary);
    binaries[level] = Buffer.from(binary).toString('base64');
    declarations = files.get('out.d.ts');
  }
  const type = `${family[0].toUpperCase()}${family.slice(1)}Kernels`;
  const source = [
    `export interface ${type} {`,
    entryPoints(declarations),
    '}',
    '',
    ...Object.entries(binaries).map(([level, base64]) => `export const ${level} =\n  '${base64}';`),
    '',
  ].join('\n');
  await writeFile(`${root}src/generated/${family}.ts`, source);
  console.log(
    `kernels/${family}: ${Object.values(binaries)
      .map((b) => Math.ceil((b.length * 3) / 4))
      .join(' and ')} bytes`,
  );
}

// the check compiles the binaries, and Node 20 has relaxed SIMD behind a flag
if (process.versions.node.startsWith('20.')) v8.setFlagsFromString('--experimental-wasm-relaxed-simd');
process.chdir(root);
await mkdir('src/generated', { recursive: true });
const requested = process.argv.slice(2);
const families =
  requested.length > 0
    ? requested
    : (await readdir('kernels')).filter((name) => existsSync(`kernels/${name}/index.ts`));
for (const family of families) await buildFamily(family);
