import { cpus } from 'node:os';
import { dispose, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { catalog } from '../src/catalog';
import { drawInputs } from '../src/catalog/numerics';
import { verify } from '../src/cli/verify';
import * as linnet from '../src/ops';
import { scaledDotProductAttention } from './attention/scaledDotProductAttention';
import { nn } from './nn/nn';
import type { Workload } from './types';

export const workloads: readonly Workload[] = [...scaledDotProductAttention, ...nn];

/** Bursts per contender: enough for a median, few enough for a slow rival. */
const MAX_BURSTS = 25;
const MIN_BURSTS = 5;
const BUDGET_MS = 6000;

export interface Timing {
  median: number;
  p95: number;
}

function elapsed(run: () => Tensor): number {
  const start = performance.now();
  tidy(run).dispose();
  return performance.now() - start;
}

function summary(samples: number[]): Timing {
  const sorted = [...samples].sort((a, b) => a - b);
  return { median: sorted[sorted.length >> 1], p95: sorted[Math.floor(sorted.length * 0.95)] };
}

/** Times linnet and its rivals in turn, one call each, so that all meet the same machine. */
export function time({ inputs, call, rivals }: Workload): Record<string, Timing> {
  const tensors = drawInputs(inputs);
  const contenders: Record<string, () => Tensor> = { linnet: () => call(linnet, tensors) };
  for (const [name, rival] of Object.entries(rivals)) contenders[name] = () => rival(tensors);
  const samples = Object.fromEntries(Object.keys(contenders).map((name) => [name, [] as number[]]));
  for (const run of Object.values(contenders)) elapsed(run);
  const start = performance.now();
  for (let i = 0; i < MAX_BURSTS && (i < MIN_BURSTS || performance.now() - start < BUDGET_MS); i++) {
    for (const [name, run] of Object.entries(contenders)) samples[name].push(elapsed(run));
  }
  dispose(tensors as never);
  return Object.fromEntries(Object.entries(samples).map(([name, list]) => [name, summary(list)]));
}

/** Prints times and ratios; an op outside its error bounds is not reported. */
export function benchCommand({ op, quick, json }: { op?: string; quick?: boolean; json?: boolean }): void {
  const chosen = workloads.filter((w) => (op === undefined || w.op === op) && (!quick || w.quick));
  const rows = chosen.flatMap((workload) => {
    if (!verify(catalog.find(({ name }) => name === workload.op)!).passed) {
      console.error(`${workload.op}: its numerics are outside their bounds, so no time is reported`);
      return [];
    }
    return [{ op: workload.op, id: workload.id, flops: workload.flops, times: time(workload) }];
  });
  if (json) {
    console.log(JSON.stringify({ machine: cpus()[0].model, node: process.version, rows }, null, 2));
    return;
  }
  console.log(`${cpus()[0].model}; medians in ms, interleaved`);
  for (const { op: name, id, flops, times } of rows) {
    const { median } = times.linnet;
    const others = Object.entries(times)
      .filter(([contender]) => contender !== 'linnet')
      .map(([contender, t]) => `${contender} ${t.median.toFixed(2)} (${(t.median / median).toFixed(1)}x)`);
    console.log(
      `${name} ${id}: ${median.toFixed(2)} ms, ${(flops / median / 1e6).toFixed(1)} GFLOP/s; ${others.join(', ')}`,
    );
  }
}
