// Continues a prompt with a checkpoint, token by token, and prints what the model remembers on the way:
//   npm run example -- generate <folder> "text, or ids such as 3 14 15" [--tokens 64] [--temperature 0.8] [--seed 1]
// The folder has config.json, model.safetensors (or its index) and, for text, tokenizer.json. In its place may stand the
// common name of a .json and a .safetensors file, such as test/models/checkpoints/fla_gla.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import type { Tokenizer } from '@huggingface/tokenizers';
import { ready } from 'linnet';
import { generate, loadModel, type Model } from 'linnet/models';

const json = async (path: string) => JSON.parse(await readFile(path, 'utf8'));

async function modelOf(folder: string): Promise<Model> {
  // what begins with __ in the checkpoints of the tests is no weight
  const options = { unknownTensors: /^__/ };
  if (!existsSync(`${folder}/config.json`)) {
    return loadModel((await json(`${folder}.json`)).config, `${folder}.safetensors`, options);
  }
  const index = `${folder}/model.safetensors.index.json`;
  const weights = existsSync(index) ? index : `${folder}/model.safetensors`;
  return loadModel(await json(`${folder}/config.json`), weights, options);
}

/** The tokenizer of the folder, or undefined if it has none. */
async function tokenizerOf(folder: string): Promise<Tokenizer | undefined> {
  const path = `${folder}/tokenizer.json`;
  if (!existsSync(path)) return undefined;
  const config = `${folder}/tokenizer_config.json`;
  const { Tokenizer } = await import('@huggingface/tokenizers');
  return new Tokenizer(await json(path), existsSync(config) ? await json(config) : {});
}

function idsOf(prompt: string): number[] {
  const ids = prompt.split(/[\s,]+/).map(Number);
  if (!ids.every(Number.isInteger))
    throw new Error('generate: the folder has no tokenizer.json, so the prompt must be token ids');
  return ids;
}

/** Tokens as text, each as soon as its characters are whole. */
function writer(tokenizer: Tokenizer | undefined): (token: number) => string {
  if (tokenizer === undefined) return (token) => `${token} `;
  const ids: number[] = [];
  let written = '';
  return (token) => {
    ids.push(token);
    const text = tokenizer.decode(ids);
    if (text.endsWith('\ufffd')) return '';
    const more = text.slice(written.length);
    written = text;
    return more;
  };
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: 'string', default: '64' },
    temperature: { type: 'string', default: '0' },
    seed: { type: 'string', default: '0' },
  },
});
const [folder, prompt] = positionals;
if (prompt === undefined) throw new Error('generate: expected a folder and a prompt');

await ready();
const model = await modelOf(folder);
const tokenizer = await tokenizerOf(folder);
const ids = tokenizer === undefined ? idsOf(prompt) : tokenizer.encode(prompt).ids;

const cache = model.createCache();
const show = writer(tokenizer);
const rows: string[] = [];
const start = performance.now();
let first = start;
let count = 0;
for await (const token of generate(model, ids, {
  maxNewTokens: Number(values.tokens),
  temperature: Number(values.temperature),
  seed: Number(values.seed),
  cache,
})) {
  if (count++ === 0) first = performance.now();
  process.stdout.write(show(token));
  if (Number.isInteger(Math.log2(count))) {
    const columns = [cache.position, cache.bytes, Math.round(cache.bytes / cache.position)];
    rows.push(columns.map((n) => String(n).padStart(12)).join(''));
  }
}
const [prefill, seconds] = [(first - start) / 1000, (performance.now() - first) / 1000];

console.log(`\n\n${['tokens seen', 'cache bytes', 'per token'].map((head) => head.padStart(12)).join('')}`);
for (const row of rows) console.log(row);
console.log(`prompt: ${ids.length} tokens in ${prefill.toFixed(2)} s`);
console.log(`then ${((count - 1) / seconds).toFixed(0)} tokens/s`);
cache.dispose();
model.dispose();
