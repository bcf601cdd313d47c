import { parseArgs } from 'node:util';
import { benchCommand } from '../../bench';
import { info, ready } from '../index';
import { verifyCommand } from './verify';

const USAGE = `linnet verify [--op <name>] [--json]   errors of every op against its float64 reference
linnet bench [--op <name>] [--shape <part of an id>] [--quick] [--json] [--compare <earlier.json>]
                                       times against compositions of tfjs ops and onnxruntime-web`;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    op: { type: 'string' },
    shape: { type: 'string' },
    compare: { type: 'string' },
    json: { type: 'boolean' },
    quick: { type: 'boolean' },
  },
});

await ready();
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
