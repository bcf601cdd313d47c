import { UsageError } from '../src/cli/arguments';
import { info } from '../src/index';
import { pageLibraries, writeHtml } from './html';
import { QUICK, STEADY } from './measure';
import { nodeEnvironment } from './node';
import { onnxRuntime } from './onnx/session';
import { measurePeak } from './peak';
import { emptyReport, lineOf, type Report } from './report';
import { timed } from './run';
import { workloads } from './workloads';

export interface BenchOptions {
  op?: string;
  /** Part of a workload's id, such as `T2048`. */
  shape?: string;
  quick?: boolean;
  json?: boolean;
  /** A report to compare with. */
  earlier?: Report;
  /** A file for the report as a page. */
  html?: string;
}

/** Times the chosen workloads and prints a row each; an op outside its error bounds is not reported. */
export async function benchCommand({ op, shape, quick, json, earlier, html }: BenchOptions): Promise<void> {
  const chosen = workloads.filter(
    (w) =>
      (op === undefined || w.op === op) &&
      (shape === undefined || w.id.includes(shape)) &&
      (!quick || w.quick),
  );
  if (chosen.length === 0) throw new UsageError('no workload is of that op and shape');
  if (html !== undefined) await pageLibraries();
  const threads = info().threads.count;
  const ort = await onnxRuntime(threads);
  const report = emptyReport(
    nodeEnvironment(),
    measurePeak(),
    ort ? { 'onnxruntime-web': ort.env.versions.web! } : {},
  );
  if (!json) {
    const { machine, peak } = report;
    console.log(
      `${machine.cpu}, one thread at most ${peak.gflops.toFixed(1)} GFLOP/s and ${peak.gbytes.toFixed(1)} GB/s; medians, contenders in turns`,
    );
  }
  for (const workload of chosen) {
    const row = await timed(workload, report, quick ? QUICK : STEADY);
    if (row === undefined) {
      console.error(`${workload.op}: its numerics are outside their bounds, so no time is reported`);
      continue;
    }
    report.rows.push(row);
    if (json) continue;
    const old = earlier?.rows.find(({ op, id }) => op === row.op && id === row.id);
    console.log(lineOf(row, threads, old));
  }
  if (json) console.log(JSON.stringify(report, null, 2));
  if (html !== undefined) await writeHtml(report, html);
}
