import v8 from 'node:v8';
import asc from 'assemblyscript/asc';
import { checkKernelBinary } from './check.mjs';

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
export const LEVELS = { simd: [], relaxed: ['--enable', 'relaxed-simd'] };

// the check compiles the binaries, and Node 20 has relaxed SIMD behind a flag
if (process.versions.node.startsWith('20.')) v8.setFlagsFromString('--experimental-wasm-relaxed-simd');

/**
 * Compiles an AssemblyScript module at a SIMD level and checks that it may share the memory of tfjs.
 *
 * @param entry path of the module, from the working directory
 * @returns the binary, and its entry points as TypeScript declarations
 */
export async function compileKernels(entry, level) {
  const files = new Map();
  const { error, stderr } = await asc
    .main([entry, '--outFile', 'out.wasm', '--bindings', 'raw', ...OPTIONS, ...LEVELS[level]], {
      writeFile: (name, contents) => files.set(name, contents),
      readFile: undefined,
    })
    .catch((error) => ({ error, stderr: '' }));
  if (error) throw new Error(`${entry}: ${error.message}\n${stderr}`);
  const binary = files.get('out.wasm');
  await checkKernelBinary(`${entry} (${level})`, binary);
  return { binary, declarations: files.get('out.d.ts') };
}
