import { expect, it, vi } from 'vitest';

it('the loss falls and the gap closes, by every recipe', async () => {
  const lines: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((...columns) => void lines.push(columns.join(' ')));
  await import('../../examples/linearize/main');
  log.mockRestore();
  if (process.env.SHOW_ERRORS) console.log(lines.join('\n'));
  const numbers = lines.map((line) =>
    line
      .match(/[\d.]+(?= |$)/g)!
      .map(Number)
      .slice(-2),
  );
  expect(lines.length).toBe(16);
  for (let first = 0; first < lines.length; first += 4) {
    const [before, after] = [numbers[first], numbers[first + 3]];
    expect(after[0], lines[first]).toBeLessThan(0.8 * before[0]);
    expect(after[1], lines[first]).toBeLessThan(0.9 * before[1]);
  }
});
