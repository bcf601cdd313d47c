import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { benchCommand } from '../../bench';
import { writeHtml } from '../../bench/html';
import { benchModels } from '../../bench/models';
import { type Report, tableOf } from '../../bench/report';
import { info, ready } from '../index';
import { fuzzCommand } from './fuzz/command';
import { verifyCommand } from './verify';

const USAGE = `linnet verify [--op <name>] [--json]   errors of every op against its float64 reference
linnet bench [--op <name>] [--shape <part of an id>] [--threads <n>] [--quick] [--json]
             [--compare <earlier.json>] [--html <out.html>]
                                       times against compositions of tfjs ops and onnxruntime-web
linnet bench --models [--quick] [--json] tokens per second of whole models
linnet fuzz [--seconds <n>] [--seed <n>] [--op <name>] [--call <n>]
                                       hostile arguments: no crash, no leak, no stray byte
linnet table <report.json>             a report as a Markdown table
linnet html <report.json> <out.html>   a report as a page with plots`;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    op: { type: 'string' },
    shape: { type: 'string' },
    compare: { type: 'string' },
    html: { type: 'string' },
    threads: { type: 'string' },
    seconds: { type: 'string' },
    seed: { type: 'string' },
    call: { type: 'string' },
    json: { type: 'boolean' },
    quick: { type: 'boolean' },
    models: { type: 'boolean' },
  },
});

const commands: Record<string, () => Promise<void> | void> = {
  async verify() {
    await start();
    process.exitCode = verifyCommand(values) ? 0 : 1;
  },
  async bench() {
    await start();
    await (values.models ? benchModels(values) : benchCommand(values));
  },
  async fuzz() {
    await start();
    process.exitCode = fuzzCommand(values) ? 0 : 1;
  },
  table() {
    console.log(tableOf(readReport()));
  },
  async html() {
    const [, , file] = positionals;
    if (file === undefined) throw new Error('linnet: html takes a report and the file to write');
    await writeHtml(readReport(), file);
  },
};

const readReport = (): Report => JSON.parse(readFileSync(positionals[1], 'utf8'));

async function start(): Promise<void> {
  const count = Number(values.threads ?? 1);
  if (!Number.isInteger(count) || count < 1)
    throw new Error(`linnet: --threads must be a positive integer; got ${values.threads}`);
  await ready({ threads: count });
  const { version, simd, threads } = info();
  if (values.json) return;
  console.log(
    `linnet ${version}, Node ${process.version}, ${simd.level} (${simd.reason}), ${threads.count} thread${threads.count === 1 ? '' : 's'}`,
  );
}

const command = commands[positionals[0] ?? ''];
if (command === undefined) {
  console.error(USAGE);
  process.exitCode = 2;
} else await command();
