import { expect, it } from 'vitest';
import { measure } from '../../bench/measure';
import { lineOf, rowOf, tableOf } from '../../bench/report';

function pause(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

it('times calls and promises in turns', async () => {
  const order: string[] = [];
  const work = (name: string, ms: number) => {
    if (order.at(-1) !== name) order.push(name);
    pause(ms);
  };
  const times = await measure(
    [
      { name: 'call', run: () => work('call', 2) },
      { name: 'promise', start: async () => work('promise', 6) },
    ],
    { rounds: 2, burst: 0.02, warmUp: 0 },
  );
  expect(times.call.median).toBeGreaterThanOrEqual(2);
  expect(times.promise.median).toBeGreaterThanOrEqual(6);
  expect(times.promise.median).toBeLessThan(60);
  expect(times.call.p95).toBeGreaterThanOrEqual(times.call.median);
  // one turn each to warm up, then the order changes from round to round
  expect(order).toEqual(['call', 'promise', 'call', 'promise', 'call']);
});

it('passes on what a contender throws', async () => {
  const broken = {
    name: 'broken',
    run() {
      throw new Error('no such kernel');
    },
  };
  await expect(measure([broken], { rounds: 1, burst: 0.01, warmUp: 0 })).rejects.toThrow('no such kernel');
});

it('relates a time to the bound of the machine', () => {
  const timing = { median: 4, p95: 5, rme: 1, samples: 10 };
  const names = { op: 'rope', family: 'nn', id: 'T1' };
  const peak = { gflops: 50, gbytes: 10 };
  const arithmetic = rowOf(names, { flops: 1e8, bytes: 1e6 }, { linnet: timing }, peak);
  expect(arithmetic).toMatchObject({ gflops: 25, percentOfBound: 50, bound: 'arithmetic' });
  const memory = rowOf(names, { flops: 1e6, bytes: 1e7 }, { linnet: timing }, peak);
  expect(memory).toMatchObject({ percentOfBound: 25, bound: 'memory' });
  const line = lineOf(arithmetic, 1, { ...arithmetic, times: { linnet: { ...timing, median: 6 } } });
  expect(line).toBe('rope T1: 4.00 ms (p95 5.00 ms, +-1.0%); 25.0 GFLOP/s, 50% of arithmetic; before 1.50x');
});

it('puts a report into a table', () => {
  const timing = (median: number) => ({ median, p95: median, rme: 1, samples: 10 });
  const times = { linnet: timing(2), 'forward + backward': timing(7), tuned: timing(5) };
  const row = rowOf({ op: 'rope', family: 'nn', id: 'T1' }, { flops: 5e7, bytes: 0 }, times, {
    gflops: 50,
    gbytes: 10,
  });
  expect(
    tableOf({ rows: [row] })
      .split('\n')
      .at(-1),
  ).toBe('| `rope` | T1 | 2.00 ms | 3.5x, 43% | 50% of arithmetic | tuned 5.00 ms (2.5x) |');
});
