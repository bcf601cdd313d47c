import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { benchCommand } from '../../bench';
import { tableOf } from '../../bench/report';
import { info, ready } from '../index';
import { verifyCommand } from './verify';

const USAGE = `linnet verify [--op <name>] [--json]   errors of every op against its float64 reference
linnet bench [--op <name>] [--shape <part of an id>] [--threads <n>] [--quick] [--json]
             [--compare <earlier.json>]
                                       times against compositions of tfjs ops and onnxruntime-web
linnet table <report.json>             a report as a Markdown table`;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    op: { type: 'string' },
    shape: { type: 'string' },
    compare: { type: 'string' },
    threads: { type: 'string' },
    json: { type: 'boolean' },
    quick: { type: 'boolean' },
  },
});

if (positionals[0] === 'table') {
  console.log(tableOf(JSON.parse(readFileSync(positionals[1], 'utf8'))));
  process.exit();
}
await ready({ threads: Number(values.threads ?? 1) });
const { version, simd, threads } = info();
if (!values.json)
  console.log(
    `linnet ${version}, Node ${process.version}, ${simd.level} (${simd.reason}), ${threads.count} thread`,
  );
if (positionals[0] === 'verify') process.exitCode = verifyCommand(values) ? 0 : 1;
else if (positionals[0] === 'bench') await benchCommand(values);
else {
  console.error(USAGE);
  process.exitCode = 2;
}
