import { readFileSync } from 'node:fs';
import { benchCommand } from '../../bench';
import { writeHtml } from '../../bench/html';
import { benchModels } from '../../bench/models';
import { type Report, tableOf } from '../../bench/report';
import { catalog } from '../catalog';
import { info, ready } from '../index';
import { command, UsageError } from './arguments';
import { fuzzCommand } from './fuzz/command';
import { verifyCommand } from './verify';

const op = { value: 'name', choices: catalog.map(({ name }) => name), text: 'only this op' };
const threads = { value: 'n', least: 1, text: 'threads to compute on; default 1' };
const json = { text: 'print JSON' };

async function start(given: { threads?: number; json?: boolean }): Promise<void> {
  await ready({ threads: given.threads ?? 1 });
  const { version, simd, threads } = info();
  if (given.json) return;
  console.log(
    `linnet ${version}, Node ${process.version}, ${simd.level} (${simd.reason}), ${threads.count} thread${threads.count === 1 ? '' : 's'}`,
  );
}

function readReport(file: string): Report {
  let report: Partial<Report>;
  try {
    report = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new UsageError(`cannot read ${file}: ${(error as Error).message}`);
  }
  if (!Array.isArray(report.rows)) throw new UsageError(`${file} is no report of linnet bench --json`);
  return report as Report;
}

export const commands = {
  verify: command({
    summary: 'Errors of every op and its gradients against its float64 reference',
    options: { op, threads, json },
    async run(values) {
      await start(values);
      return verifyCommand(values) ? 0 : 1;
    },
  }),
  bench: command({
    summary: 'Times against compositions of tfjs ops and onnxruntime-web',
    options: {
      op,
      shape: { value: 'text', text: 'only workloads with this in their name, such as T2048' },
      threads,
      quick: { text: 'a few workloads, in short turns' },
      models: { text: 'tokens per second of whole models instead' },
      json,
      compare: { value: 'earlier.json', text: 'print the ratio to the times of an earlier report' },
      html: { value: 'out.html', text: 'also write the report as a page with plots' },
    },
    async run({ compare, ...values }) {
      const foreign = (['op', 'shape', 'html'] as const).find((name) => values[name] !== undefined);
      if (values.models && (foreign ?? compare) !== undefined)
        throw new UsageError(`--models does not go with --${foreign ?? 'compare'}`);
      const earlier = compare === undefined ? undefined : readReport(compare);
      await start(values);
      await (values.models ? benchModels(values) : benchCommand({ ...values, earlier }));
      return 0;
    },
  }),
  fuzz: command({
    summary: 'Hostile arguments: no crash, no leak, no stray byte, no unreadable error',
    options: {
      op,
      seconds: { value: 'n', least: 1, text: 'how long; default 60' },
      seed: { value: 'n', least: 0, text: 'the same seed makes the same calls; default 1' },
      call: { value: 'n', least: 0, text: 'only the call of this number, as a failure names it' },
      threads,
    },
    async run(values) {
      await start(values);
      return fuzzCommand(values) ? 0 : 1;
    },
  }),
  table: command({
    summary: 'A report as a Markdown table',
    operands: ['report.json'],
    options: {},
    async run(_, [report]) {
      console.log(tableOf(readReport(report)));
      return 0;
    },
  }),
  html: command({
    summary: 'A report as a page with plots',
    operands: ['report.json', 'out.html'],
    options: {},
    async run(_, [report, page]) {
      await writeHtml(readReport(report), page);
      return 0;
    },
  }),
};
