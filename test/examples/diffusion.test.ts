import { expect, it, vi } from 'vitest';

it('both losses fall, and the samples are of the alphabet', async () => {
  process.env.STEPS = '30';
  const lines: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((...columns) => void lines.push(columns.join(' ')));
  await import('../../examples/diffusion/main');
  log.mockRestore();
  for (const name of ['masked', 'block']) {
    const losses = lines
      .filter((line) => line.startsWith(`${name} step`))
      .map((line) => Number(/loss ([\d.]+)/.exec(line)![1]));
    expect(losses.length).toBe(10);
    const last = losses.slice(-3).reduce((a, b) => a + b) / 3;
    expect(last).toBeLessThan(0.95 * losses[0]);
    expect(lines.find((line) => line.startsWith(`${name}: and god said unto abram, `))).toMatch(
      /^[a-z ,.:;!?'()\n]+$/,
    );
  }
}, 120_000);
