import { version_core } from '@tensorflow/tfjs-core';
import { info } from '../src/index';
import type { Timing } from './measure';
import type { Peak } from './peak';

/** The contender that is linnet itself, forward and backward. */
export const WITH_GRADIENT = 'forward + backward';

export interface Row {
  op: string;
  family: string;
  id: string;
  flops: number;
  bytes: number;
  times: Record<string, Timing>;
  gflops: number;
  /** Share of what arithmetic or memory allows, whichever is less: percent of the time that bound would take. */
  percentOfBound: number;
  bound: 'arithmetic' | 'memory';
  /** The same of forward and backward together, taken for three times the work of forward alone. */
  percentWithGradients?: number;
}

export interface Report {
  linnet: string;
  date: string;
  machine: { cpu: string; cores: number; memoryGiB?: number; platform: string };
  node?: string;
  v8?: string;
  browser?: string;
  packages: Record<string, string>;
  simd: string;
  threads: number;
  peak: Peak;
  rows: Row[];
}

/** Where a report is made. */
export type Environment = Pick<Report, 'machine' | 'node' | 'v8' | 'browser'>;

export function emptyReport(environment: Environment, peak: Peak, packages: Record<string, string>): Report {
  const { version, simd, threads } = info();
  return {
    linnet: version,
    date: new Date().toISOString().slice(0, 10),
    ...environment,
    packages: { '@tensorflow/tfjs-core': version_core, ...packages },
    simd: simd.level,
    threads: threads.count,
    peak,
    rows: [],
  };
}

/** The row of a workload: its rate against what the machine allows. */
export function rowOf(
  { op, family, id }: { op: string; family: string; id: string },
  { flops, bytes }: { flops: number; bytes: number },
  times: Record<string, Timing>,
  peak: Peak,
): Row {
  const ms = times.linnet.median;
  const [arithmetic, memory] = [flops / peak.gflops / 1e6, bytes / peak.gbytes / 1e6];
  const least = 100 * Math.max(arithmetic, memory);
  const gradient = times[WITH_GRADIENT];
  return {
    op,
    family,
    id,
    flops,
    bytes,
    times,
    gflops: flops / ms / 1e6,
    percentOfBound: least / ms,
    bound: arithmetic >= memory ? 'arithmetic' : 'memory',
    percentWithGradients: gradient && (3 * least) / gradient.median,
  };
}

/** Rivals of a row with their ratio to linnet, linnet's own gradient left out. */
function rivalsOf({ times: { linnet, ...others } }: Row): string[] {
  return Object.entries(others)
    .filter(([name]) => name !== WITH_GRADIENT)
    .map(([name, { median }]) => `${name} ${milliseconds(median)} (${(median / linnet.median).toFixed(1)}x)`);
}

/** Forward and backward as a multiple of forward, with their share of the bound. */
function gradientOf({ times, percentWithGradients = 0 }: Row): string {
  const gradient = times[WITH_GRADIENT];
  if (gradient === undefined) return '';
  return `${(gradient.median / times.linnet.median).toFixed(1)}x, ${percentWithGradients.toFixed(0)}%`;
}

export const COLUMNS = ['op', 'workload', 'forward', 'with gradients', 'of the bound', 'others'];

/** A row as text, by column. */
export function cellsOf(row: Row): string[] {
  return [
    row.op,
    row.id,
    milliseconds(row.times.linnet.median),
    gradientOf(row),
    `${row.percentOfBound.toFixed(0)}% of ${row.bound}`,
    rivalsOf(row).join(', '),
  ];
}

/** The rows of a report as a Markdown table. */
export function tableOf({ rows }: Pick<Report, 'rows'>): string {
  const lines = rows.map((row) => {
    const [op, ...cells] = cellsOf(row);
    return `| ${[`\`${op}\``, ...cells].join(' | ')} |`;
  });
  return [`| ${COLUMNS.join(' | ')} |`, `|${' --- |'.repeat(COLUMNS.length)}`, ...lines].join('\n');
}

const milliseconds = (ms: number) => (ms < 0.1 ? `${(ms * 1000).toFixed(1)} us` : `${ms.toFixed(2)} ms`);

/** One line: the time, the rate, and each other contender with its ratio. */
export function lineOf(row: Row, threads: number, before?: Row): string {
  const { linnet } = row.times;
  const gradient = row.times[WITH_GRADIENT];
  const share = `${row.percentOfBound.toFixed(0)}% of ${row.bound}${threads > 1 ? ' of one thread' : ''}`;
  const parts = [
    `${row.op} ${row.id}: ${milliseconds(linnet.median)} (p95 ${milliseconds(linnet.p95)}, +-${linnet.rme.toFixed(1)}%)`,
    `${row.gflops.toFixed(1)} GFLOP/s, ${share}`,
  ];
  if (gradient !== undefined) {
    parts.push(`with gradients ${milliseconds(gradient.median)} (${gradientOf(row)})`);
  }
  parts.push(...rivalsOf(row));
  if (before !== undefined) parts.push(`before ${(before.times.linnet.median / linnet.median).toFixed(2)}x`);
  return parts.join('; ');
}
