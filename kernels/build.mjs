// Compiles every kernels/<family>/index.ts twice (plain and relaxed SIMD), checks the binaries and writes them,
// with the types of their entry points, to src/generated/<family>.ts.

import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { compileKernels, LEVELS } from './compile.mjs';

/** The entry points as asc declares them: `export declare function name(a: number, ...): void;` */
function entryPoints(declarations) {
  return [...declarations.matchAll(/^ {2}(?:export (?:declare )?function )?(\w+)\(([^)]*)\): (\w+);/gm)]
    .map(([, name, args, result]) => `  ${name}(${args}): ${result};`)
    .join('\n');
}

async function buildFamily(family) {
  const binaries = {};
  let types = '';
  for (const level of Object.keys(LEVELS)) {
    const { binary, declarations } = await compileKernels(`kernels/${family}/index.ts`, level);
    binaries[level] = binary;
    types = declarations;
  }
  const type = `${family[0].toUpperCase()}${family.slice(1)}Kernels`;
  const source = [
    `export interface ${type} {`,
    entryPoints(types),
    '}',
    '',
    ...Object.entries(binaries).map(
      ([level, binary]) => `export const ${level} =\n  '${Buffer.from(binary).toString('base64')}';`,
    ),
    '',
  ].join('\n');
  await writeFile(`src/generated/${family}.ts`, source);
  const sizes = Object.values(binaries).map((binary) => binary.length);
  console.log(`kernels/${family}: ${sizes.join(' and ')} bytes`);
}

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
await mkdir('src/generated', { recursive: true });
const requested = process.argv.slice(2);
const families =
  requested.length > 0
    ? requested
    : (await readdir('kernels')).filter((name) => existsSync(`kernels/${name}/index.ts`));
for (const family of families) await buildFamily(family);
