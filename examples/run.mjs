// Runs examples/<name>/main.ts against the built package: npm run example -- <name> [arguments]
import { build } from 'esbuild';

const [name] = process.argv.splice(2, 1);
const outfile = `dist/examples/${name}.mjs`;
await build({
  entryPoints: [`examples/${name}/main.ts`],
  outfile,
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
});
await import(new URL(`../${outfile}`, import.meta.url).href);
