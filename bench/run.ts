import { dispose } from '@tensorflow/tfjs-core';
import { catalog } from '../src/catalog';
import { drawInputs } from '../src/catalog/numerics';
import { verify } from '../src/cli/verify';
import { contendersOf, leastBytes } from './contenders';
import { measure, type Pace } from './measure';
import { type Report, type Row, rowOf } from './report';
import type { Workload } from './types';

const sound = new Map<string, boolean>();

/** The row of a workload, or undefined if the numerics of its op are outside their bounds: then it is not timed. */
export async function timed(
  workload: Workload,
  { threads, peak }: Pick<Report, 'threads' | 'peak'>,
  pace: Pace,
): Promise<Row | undefined> {
  const { op, id, flops } = workload;
  const entry = catalog.find(({ name }) => name === op)!;
  if (!sound.has(op)) sound.set(op, verify(entry).passed);
  if (!sound.get(op)) return undefined;
  const tensors = drawInputs(workload.inputs);
  const contenders = await contendersOf(workload, tensors, threads);
  try {
    const times = await measure(contenders, pace);
    const least = { flops, bytes: leastBytes(workload, tensors) };
    return rowOf({ op, id, family: entry.family }, least, times, peak);
  } finally {
    for (const contender of contenders) await contender.close?.();
    dispose(tensors as never);
  }
}
