import { readFileSync } from 'node:fs';
import { dispose } from '@tensorflow/tfjs-core';
import { catalog } from '../src/catalog';
import { drawInputs } from '../src/catalog/numerics';
import { verify } from '../src/cli/verify';
import { info } from '../src/index';
import { forgettingAttention } from './attention/forgettingAttention';
import { multiHeadLatentAttention } from './attention/multiHeadLatentAttention';
import { scaledDotProductAttention } from './attention/scaledDotProductAttention';
import { contendersOf, leastBytes } from './contenders';
import { additive } from './linear/additive';
import { beyond } from './linear/beyond';
import { channels } from './linear/channels';
import { delta } from './linear/delta';
import { features } from './linear/features';
import { measure, QUICK, STEADY } from './measure';
import { experts } from './moe/experts';
import { moe } from './moe/moe';
import { routing } from './moe/routing';
import { nn } from './nn/nn';
import { onnxRuntime } from './onnx/session';
import { measurePeak } from './peak';
import { emptyReport, lineOf, type Report, rowOf } from './report';
import { clustered } from './sparse/clustered';
import { dynamic, int8Decode } from './sparse/dynamic';
import { flexAttention } from './sparse/flexAttention';
import { blocks } from './ssm/blocks';
import { mamba } from './ssm/mamba';
import { scans } from './ssm/scans';
import type { Workload } from './types';

export const workloads: readonly Workload[] = [
  ...scaledDotProductAttention,
  ...forgettingAttention,
  ...multiHeadLatentAttention,
  ...flexAttention,
  ...dynamic,
  ...int8Decode,
  ...clustered,
  ...additive,
  ...delta,
  ...channels,
  ...features,
  ...beyond,
  ...mamba,
  ...scans,
  ...blocks,
  ...moe,
  ...routing,
  ...experts,
  ...nn,
];

export interface BenchOptions {
  op?: string;
  /** Part of a workload's id, such as `T2048`. */
  shape?: string;
  quick?: boolean;
  json?: boolean;
  /** An earlier report to compare with. */
  compare?: string;
}

/** Times the chosen workloads and prints a row each; an op outside its error bounds is not reported. */
export async function benchCommand({ op, shape, quick, json, compare }: BenchOptions): Promise<void> {
  const chosen = workloads.filter(
    (w) =>
      (op === undefined || w.op === op) &&
      (shape === undefined || w.id.includes(shape)) &&
      (!quick || w.quick),
  );
  if (chosen.length === 0) throw new Error('bench: no workload of that op and shape');
  const threads = info().threads.count;
  const ort = await onnxRuntime(threads);
  const report = emptyReport(measurePeak(), ort ? { 'onnxruntime-web': ort.env.versions.web! } : {});
  const before: Report | undefined = compare ? JSON.parse(readFileSync(compare, 'utf8')) : undefined;
  if (!json) {
    const { machine, peak } = report;
    console.log(
      `${machine.cpu}, one thread at most ${peak.gflops.toFixed(1)} GFLOP/s and ${peak.gbytes.toFixed(1)} GB/s; medians, contenders in turns`,
    );
  }
  const sound = new Map<string, boolean>();
  for (const workload of chosen) {
    const entry = catalog.find(({ name }) => name === workload.op)!;
    if (!sound.has(workload.op)) sound.set(workload.op, verify(entry).passed);
    if (!sound.get(workload.op)) {
      console.error(`${workload.op}: its numerics are outside their bounds, so no time is reported`);
      continue;
    }
    const tensors = drawInputs(workload.inputs);
    const contenders = await contendersOf(workload, tensors, threads);
    const times = await measure(contenders, quick ? QUICK : STEADY);
    const least = { flops: workload.flops, bytes: leastBytes(workload, tensors) };
    const row = rowOf({ ...workload, family: entry.family }, least, times, report.peak);
    report.rows.push(row);
    if (!json) {
      const old = before?.rows.find((r) => r.op === row.op && r.id === row.id);
      console.log(lineOf(row, threads, old));
    }
    for (const contender of contenders) await contender.close?.();
    dispose(tensors as never);
  }
  if (json) console.log(JSON.stringify(report, null, 2));
}
