import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { checkpoint, configOf, fileOf } from '../models/checkpoint';

/** What the example prints for these arguments: the stream, and the lines after it. */
async function run(...args: string[]): Promise<{ stream: string; lines: string[] }> {
  let stream = '';
  const lines: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(line));
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    stream += text;
    return true;
  });
  const { argv } = process;
  process.argv = [...argv.slice(0, 2), ...args];
  try {
    vi.resetModules();
    await import('../../examples/generate/main');
  } finally {
    process.argv = argv;
    log.mockRestore();
    write.mockRestore();
  }
  return { stream, lines };
}

/** Tokens seen, bytes of the cache, bytes per token. */
const rowsOf = (lines: string[]) =>
  lines.filter((line) => /^[\d ]+$/.test(line)).map((line) => line.trim().split(/ +/).map(Number));

async function promptAndAnswer(name: string): Promise<{ prompt: number[]; answer: number[] }> {
  const { model, inputIds, greedy } = await checkpoint(name);
  model.dispose();
  return { prompt: (inputIds.arraySync() as number[][])[0], answer: greedy[0] };
}

describe('ids', () => {
  it.each(['fla_gla', 'fla_gated_deltanet', 'mamba2', 'fla_rwkv7'])(
    '%s writes the stored tokens, in the same memory at every token',
    async (name) => {
      const { prompt, answer } = await promptAndAnswer(name);
      const args = [`test/models/checkpoints/${name}`, prompt.join(' '), '--tokens', '64'];
      const { stream, lines } = await run(...args);
      const tokens = stream.trim().split(' ').map(Number);
      expect(tokens.slice(0, answer.length)).toEqual(answer);
      const rows = rowsOf(lines);
      expect(rows.map(([seen]) => seen - prompt.length)).toEqual([0, 1, 3, 7, 15, 31, 63]);
      expect(new Set(rows.map(([, bytes]) => bytes)).size).toBe(1);
      expect(lines.at(-1)).toMatch(/^then \d+ tokens\/s$/);
    },
  );

  it('softmax attention remembers every token', async () => {
    const { prompt } = await promptAndAnswer('llama');
    const { lines } = await run('test/models/checkpoints/llama', prompt.join(','), '--tokens', '128');
    const bytes = rowsOf(lines).map((row) => row[1]);
    expect(bytes.at(-1)).toBeGreaterThan(bytes[0]);
  });
});

describe('a folder with a tokenizer', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'generate-'));
    const vocab = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`w${i}`, i]));
    const tokenizer = {
      version: '1.0',
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: { type: 'Whitespace' },
      post_processor: null,
      decoder: null,
      model: { type: 'WordLevel', vocab, unk_token: 'w0' },
    };
    writeFileSync(`${folder}/tokenizer.json`, JSON.stringify(tokenizer));
    writeFileSync(`${folder}/config.json`, JSON.stringify(configOf('fla_gla')));
    writeFileSync(`${folder}/model.safetensors`, readFileSync(fileOf('fla_gla')));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('is text in, text out', async () => {
    const { prompt, answer } = await promptAndAnswer('fla_gla');
    const { stream } = await run(folder, prompt.map((id) => `w${id}`).join(' '), '--tokens', '12');
    expect(stream.trim().split(/\s+/)).toEqual(answer.map((id) => `w${id}`));
  });
});

it('says what it needs', async () => {
  await expect(run('test/models/checkpoints/fla_gla')).rejects.toThrow(
    'generate: expected a folder and a prompt',
  );
  await expect(run('test/models/checkpoints/fla_gla', 'hello')).rejects.toThrow(
    'generate: the folder has no tokenizer.json, so the prompt must be token ids',
  );
});
