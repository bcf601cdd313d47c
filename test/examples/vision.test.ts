import { afterEach, expect, it, vi } from 'vitest';

const { argv } = process;
afterEach(() => {
  process.argv = argv;
  vi.restoreAllMocks();
});

async function run(...args: string[]): Promise<string[]> {
  const lines: string[] = [];
  vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(line));
  process.argv = [...argv.slice(0, 2), ...args];
  vi.resetModules();
  await import('../../examples/vision/main');
  return lines;
}

it('the loss falls with every mixer', async () => {
  const [sizes, ...lines] = await run('--quick');
  if (process.env.SHOW_ERRORS) console.info(lines.join('\n'));
  expect(sizes).toBe('768 images to learn from, 128 held out');
  expect(lines.map((line) => line.split(' ')[0])).toEqual(['softmax', 'neighborhood', 'mamba', 'rwkv']);
  for (const line of lines) {
    const [, first, last] = /loss ([\d.]+) to ([\d.]+)/.exec(line)!.map(Number);
    expect(last, line).toBeLessThan(0.92 * first);
  }
}, 240_000);

it('names the mixers', async () => {
  await expect(run('pixels')).rejects.toThrow(
    'vision: no mixer pixels; expected softmax, neighborhood, mamba, rwkv',
  );
});
