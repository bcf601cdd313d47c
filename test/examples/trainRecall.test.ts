import { tensor } from '@tensorflow/tfjs-core';
import { describe, expect, it, vi } from 'vitest';
import { accuracyOf, drawBatch, lossOf, uniform } from '../../examples/train-recall/recall';

it('every mixer learns in the quick run', async () => {
  const lines: string[] = [];
  const log = vi
    .spyOn(console, 'log')
    .mockImplementation((text: string) => void lines.push(...text.split('\n')));
  const { argv } = process;
  process.argv = [...argv.slice(0, 2), '--quick'];
  await import('../../examples/train-recall/main').finally(() => {
    process.argv = argv;
    log.mockRestore();
  });
  if (process.env.SHOW_ERRORS) console.log(lines.join('\n'));
  const rows = lines.slice(3).map((line) => /^(.{16})(.*)$/.exec(line)!);
  expect(rows.map(([, name]) => name.trim())).toEqual([
    'softmax',
    'sliding window',
    'linear',
    'gla',
    'gatedDeltaRule',
  ]);
  for (const [line, , numbers] of rows) {
    const [before, after, two, four] = numbers.trim().split(/ +/).map(Number.parseFloat);
    expect(after, line).toBeLessThan(0.6 * before);
    // chance is 12.5%
    expect(two, line).toBeGreaterThan(30);
    expect(four, line).toBeGreaterThan(25);
  }
}, 300_000);

describe('associative recall', () => {
  it('asks for the value that stood behind each key, once', () => {
    const { ids, answers } = drawBatch({ keys: 8, tokensPerPair: 4 }, 5, 3, uniform(7));
    const rows = ids.arraySync() as number[][];
    expect(ids.shape).toEqual([3, 20]);
    rows.forEach((row, b) => {
      const values = new Map(Array.from({ length: 5 }, (_, i) => [row[2 * i], row[2 * i + 1]]));
      expect(values.size).toBe(5);
      const asked = row.flatMap((key, t) => (answers[20 * b + t] < 0 ? [] : [[key, answers[20 * b + t]]]));
      expect(new Map(asked as [number, number][])).toEqual(values);
      expect(asked.length).toBe(5);
      expect(row.slice(10).filter((id) => id === 16).length).toBe(5);
    });
  });

  it('counts where it asks only', () => {
    const logits = tensor([
      [0, Math.log(3)],
      [9, 0],
      [Math.log(3), 0],
    ]);
    const answers = Int32Array.of(1, -1, 1);
    expect(accuracyOf(logits, answers)).toBe(0.5);
    expect(lossOf(logits, answers).dataSync()[0]).toBeCloseTo(-(Math.log(0.75) + Math.log(0.25)) / 2, 6);
  });
});
