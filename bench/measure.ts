import Benchmark from 'benchmark';

export interface Timing {
  /** Milliseconds a call. */
  median: number;
  p95: number;
  /** Relative margin of error of the mean, percent, 95% confidence. */
  rme: number;
  samples: number;
}

/** Something to time: a call that is over when it returns, or one that is over when its promise settles. */
export type Contender = { name: string; close?(): unknown } & (
  | { run(): void; start?: undefined }
  | { start(): Promise<unknown> }
);

/** Bursts are short, so that all contenders meet the same weather on the machine. */
export interface Pace {
  rounds: number;
  /** Seconds of a contender's turn. */
  burst: number;
  warmUp: number;
  /** Seconds of a sample, which lasts for as many calls; default 0.02, less in short bursts. */
  sample?: number;
}
export const STEADY: Pace = { rounds: 5, burst: 0.2, warmUp: 0.5 };
export const QUICK: Pace = { rounds: 3, burst: 0.1, warmUp: 0.2 };

/** One turn of benchmark.js; milliseconds of each sample, a sample being the mean of as many calls as its clock needs. */
function turn(
  contender: Contender,
  seconds: number,
  sample = Math.min(0.02, seconds / 5),
): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const finish = (benchmark: Benchmark) =>
      benchmark.error === undefined
        ? resolve(benchmark.stats.sample.map((s) => s * 1000))
        : reject(benchmark.error);
    const { start } = contender;
    new Benchmark({
      defer: start !== undefined,
      async: true,
      maxTime: seconds,
      minSamples: 1,
      minTime: sample,
      fn:
        start === undefined
          ? () => contender.run()
          : (deferred: { resolve(): void }) => start().then(() => deferred.resolve()),
      onComplete: (event: Benchmark.Event) => finish(event.currentTarget as unknown as Benchmark),
    } as Benchmark.Options).run();
  });
}

export function summary(samples: readonly number[]): Timing {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  const mean = samples.reduce((a, b) => a + b, 0) / samples.length;
  const variance = samples.reduce((sum, x) => sum + (x - mean) ** 2, 0) / Math.max(1, samples.length - 1);
  return {
    median: at(0.5),
    p95: at(0.95),
    rme: (100 * 1.96 * Math.sqrt(variance / samples.length)) / mean,
    samples: samples.length,
  };
}

/** Times the contenders in turns, after warming each up. */
export async function measure(contenders: readonly Contender[], pace: Pace): Promise<Record<string, Timing>> {
  const samples = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
  for (const contender of contenders) await turn(contender, pace.warmUp, pace.sample);
  for (let round = 0; round < pace.rounds; round++) {
    for (let i = 0; i < contenders.length; i++) {
      const contender = contenders[(i + round) % contenders.length];
      samples.get(contender.name)!.push(...(await turn(contender, pace.burst, pace.sample)));
    }
  }
  return Object.fromEntries([...samples].map(([name, list]) => [name, summary(list)]));
}
