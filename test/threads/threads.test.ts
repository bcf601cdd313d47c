import { execFileSync } from 'node:child_process';
import { backend, dispose, randomNormal, randomUniform, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { catalog } from '../../src/catalog';
import { drawInputs } from '../../src/catalog/numerics';
import { gla, info, ready, scaledDotProductAttention, setThreads } from '../../src/index';
import { worthwhile } from '../../src/runtime/launch';
import { state } from '../../src/runtime/modules';
import type { ThreadPool } from '../../src/runtime/threads';
import { difference, outputsAndGradients } from '../bits';
import { longRecurrences } from './longRecurrences';

/** Of one call, so that a race has several chances to show. */
const REPEATS = 3;
const pool = () => state.pool!.threads;
const turn = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

beforeAll(() => {
  worthwhile.ms = 0;
});
afterEach(() => setThreads(2));

describe('results are the same bits on any number of threads', () => {
  const cases = [
    ...catalog.flatMap(({ name, cases }) => cases.map((c) => ({ name, c }))),
    ...longRecurrences.map((c) => ({ name: 'heads that threads hand to each other', c })),
  ];
  const expected = new Map<string, Float64Array[]>();
  const idOf = ({ name, c }: (typeof cases)[number]) => `${name} ${c.id}`;

  it('1', async () => {
    await setThreads(1);
    for (const one of cases) {
      const tensors = drawInputs(one.c.inputs);
      expected.set(idOf(one), outputsAndGradients(one.c, tensors));
      dispose(tensors as never);
    }
    expect(info().threads).toEqual({ count: 1, reason: 'asked for' });
  });

  it.each([2, 3, 4, 8])('%d', async (count) => {
    await setThreads(count);
    expect(info().threads.count).toBe(count);
    for (const one of cases) {
      const tensors = drawInputs(one.c.inputs);
      for (let i = 0; i < REPEATS; i++) {
        const actual = outputsAndGradients(one.c, tensors);
        expect(difference(actual, expected.get(idOf(one))!), idOf(one)).toBeUndefined();
      }
      dispose(tensors as never);
    }
  });
});

/** Makes the next call on the pool another one. */
function intercept(change: (...args: Parameters<ThreadPool['run']>) => Parameters<ThreadPool['run']>): void {
  const threads = pool();
  const run = threads.run.bind(threads);
  vi.spyOn(threads, 'run').mockImplementationOnce((...args) => run(...change(...args)));
}

function sleepFirst(times: number, ms: number): () => void {
  let left = times;
  return () => {
    if (left-- > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  };
}

function expectPoolGoesOn(): void {
  const x = randomNormal([1, 64, 4, 16]);
  const output = scaledDotProductAttention(x, x, x);
  expect(output.dataSync().every(Number.isFinite)).toBe(true);
  expect(info().threads.count).toBe(2);
  dispose([x, output]);
}

it('a call whose range traps on a worker throws, and the pool goes on', () => {
  // rows far outside of the heap; the calling thread takes its time with the first, so that the worker claims some
  const far = 2 ** 31;
  const args = [far, 0, far, 4, 0.25, 1e-6, 0];
  expect(() => pool().run('nn', 'rmsNorm', sleepFirst(1, 1000), args, [0, 0, 0, 0, 0, 0, 0], 64)).toThrow(
    /^rmsNorm: a worker failed: RuntimeError: memory access out of bounds/,
  );
  expectPoolGoesOn();
});

describe.each([
  // four heads, then two and one of them from where they have come to
  {
    shape: [1, 2048, 8, 32],
    runs: [
      [0, 4],
      [8, 10],
      [16, 17],
    ],
  },
  // the calling thread begins with the first of three sequences, and gives half of it to the worker
  {
    shape: [3, 2048, 2, 32],
    runs: [
      [0, 2],
      [6, 7],
    ],
  },
])('work of shape $shape that threads hand to each other', ({ shape, runs }) => {
  const tensors: Record<string, Tensor> = {};
  let expected: Tensor;
  const run = () => gla(tensors.q, tensors.k, tensors.v, tensors.g);

  beforeAll(async () => {
    const draw = () => randomNormal(shape);
    Object.assign(tensors, { q: draw(), k: draw(), v: draw(), g: randomUniform(shape, -0.1, 0) });
    await setThreads(1);
    // the first call of all runs in ranges
    dispose(run());
    expected = run();
    await setThreads(2);
  });
  const expectSame = () =>
    tidy(() => {
      expect(difference([run().dataSync()], [expected.dataSync()])).toBeUndefined();
    });

  it('goes to a thread that waits', () => {
    const sleep = sleepFirst(2, 200);
    const seen: number[][] = [];
    intercept((family, entry, own, ...rest) => {
      const late = (...args: number[]) => {
        sleep();
        seen.push(args.slice(-2));
        return own(...args);
      };
      return [family, entry, late, ...rest];
    });
    expectSame();
    expect(seen.slice(0, runs.length)).toEqual(runs);
  });

  it('ends where the calling thread throws', () => {
    intercept((family, entry, _, ...rest) => {
      const throwing = () => {
        throw new Error('enough');
      };
      return [family, entry, throwing, ...rest];
    });
    expect(run).toThrow('enough');
    expectPoolGoesOn();
    expectSame();
  });

  it('ends where a worker traps', () => {
    const sleep = sleepFirst(1, 200);
    intercept((family, entry, own, values, strides, work) => {
      const late = (...args: number[]) => {
        sleep();
        return own(...args);
      };
      const far = strides.map((stride, i) => (i === 0 ? 2 ** 31 : stride));
      return [family, entry, late, values, far, work];
    });
    expect(run).toThrow(/^additiveForward: a worker failed: RuntimeError: memory access out of bounds/);
    expectPoolGoesOn();
    expectSame();
  });
});

it('a worker that dies is reported, and ops go on without it', async () => {
  const [thread] = (pool() as unknown as { threads: { terminate(): Promise<unknown> }[] }).threads;
  await thread.terminate();
  await turn(20);
  expect(info().threads).toEqual({ count: 1, reason: 'a worker died: it ended with code 1' });
  const x = randomNormal([1, 64, 4, 16]);
  const output = scaledDotProductAttention(x, x, x);
  expect(output.dataSync().every(Number.isFinite)).toBe(true);
  dispose([x, output]);
  await setThreads(2);
  expect(info().threads).toEqual({ count: 2, reason: 'asked for' });
});

it('starting and ending threads leaves nothing behind', async () => {
  const resources = () =>
    process.getActiveResourcesInfo().filter((kind) => kind.includes('Worker') || kind.includes('Message'))
      .length;
  await setThreads(1);
  await turn(20);
  const before = resources();
  for (let i = 0; i < 10; i++) await setThreads(i % 2 === 0 ? 3 : 1);
  await setThreads(1);
  await turn(20);
  expect(resources()).toBe(before);
});

it('counts that make no sense are refused', async () => {
  const message = (count: number) =>
    `setThreads: threads is ${count}; expected a whole number of at least 1, or 'auto'`;
  for (const count of [0, -1, 1.5, Number.NaN])
    await expect(setThreads(count)).rejects.toThrow(message(count));
  await expect(ready({ threads: 0 })).rejects.toThrow('ready: threads is 0; expected a whole number');
  expect(info().threads.count).toBe(2);
});

it("'auto' takes a thread per core", async () => {
  await setThreads('auto');
  expect(info().threads.reason).toBe('one per core');
  await ready({ threads: 2 });
  expect(info().threads).toEqual({ count: 2, reason: 'asked for' });
  expect(backend().numDataIds()).toBeGreaterThanOrEqual(0);
});

describe('a program with threads', () => {
  const run = (body: string) =>
    execFileSync(
      process.execPath,
      ['--input-type=module', '-e', `import { ready, setThreads, info } from './dist/index.js';\n${body}`],
      { encoding: 'utf8', timeout: 30_000 },
    );

  it('ends when it is done', () => {
    expect(run('await ready({ threads: 3 }); console.log(info().threads.count);')).toBe('3\n');
  });

  it('cannot get them once the backend runs on a heap of its own', () => {
    const output = run(`
      await ready();
      for (const ask of [() => setThreads(2), () => ready({ threads: 2 })])
        await ask().catch((error) => console.log(error.message));
      console.log(info().threads.count);`);
    expect(output).toContain(
      'setThreads: the heap is not shared between threads; in Node call ready({ threads })',
    );
    expect(output).toContain(
      'ready: threads need a shared heap, but the tfjs wasm backend already runs on one',
    );
    expect(output).toMatch(/\n1\n$/);
  });
});
