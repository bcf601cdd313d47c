import './benchmark';
import * as plot from '@observablehq/plot';
import { info, ready } from '../../src/index';
import { QUICK, STEADY } from '../measure';
import { onnxRuntime } from '../onnx/session';
import { sectionsOf } from '../page/page';
import { measurePeak } from '../peak';
import { type Environment, emptyReport, type Report } from '../report';
import { timed } from '../run';
import { workloads } from '../workloads';
import { field, fillOptions, form, show } from './setup';

const main = document.querySelector('main')!;
const download = document.querySelector<HTMLAnchorElement>('#download')!;
const [ops, sizes] = [field<HTMLSelectElement>('op'), field<HTMLSelectElement>('workload')];
const [run, stop] = [form.querySelector('button')!, field<HTMLButtonElement>('stop')];
let stopped = false;

function environment(): Environment {
  const { hardwareConcurrency: cores, platform, userAgent: browser } = navigator;
  return { machine: { cpu: 'a browser does not tell', cores, platform }, browser };
}

// the clock of benchmark.js counts whole milliseconds here
const paceOf = () => ({ ...(field('quick').checked ? QUICK : STEADY), sample: 0.1 });

const ofOp = () => workloads.filter(({ op }) => op === ops.value);

function chosen() {
  const ids = Array.from(sizes.selectedOptions, ({ value }) => value);
  return ofOp().filter(({ id }) => ids.includes(id));
}

function showReport(report: Report): void {
  main.replaceChildren(...sectionsOf(plot, document, report));
  URL.revokeObjectURL(download.href);
  download.href = URL.createObjectURL(
    new Blob([JSON.stringify(report, null, 2)], { type: 'application/json' }),
  );
  download.hidden = false;
}

async function measureChosen(report: Report): Promise<void> {
  const list = chosen();
  stopped = false;
  for (const [i, workload] of list.entries()) {
    if (stopped) break;
    const name = `${workload.op} ${workload.id}`;
    await show(i / list.length, name);
    const row = await timed(workload, report, paceOf());
    if (row === undefined) {
      await show(i / list.length, `${name}: its numerics are outside their bounds, so it is not timed`);
      return;
    }
    report.rows = [...report.rows.filter(({ op, id }) => `${op} ${id}` !== name), row];
    showReport(report);
  }
  await show(1, stopped ? 'Stopped.' : 'Done.');
}

async function start(): Promise<Report> {
  const asked = new URLSearchParams(location.search).get('threads');
  await ready({ threads: asked === null ? 'auto' : Number(asked) });
  const { version, simd, threads } = info();
  document.querySelector('#about')!.textContent =
    `linnet ${version}, ${simd.level}, ${threads.count} of ${navigator.hardwareConcurrency} threads (${threads.reason}), beside ` +
    'compositions of tfjs ops and onnxruntime-web. Rows of several runs come together.';
  field('threads').value = String(threads.count);
  const ort = await onnxRuntime(threads.count);
  return emptyReport(environment(), measurePeak(), ort ? { 'onnxruntime-web': ort.env.versions.web! } : {});
}

const showSizes = () => {
  fillOptions(
    sizes,
    ofOp().map(({ id }) => id),
  );
  for (const option of Array.from(sizes.options)) option.selected = true;
};
fillOptions(ops, [...new Set(workloads.map(({ op }) => op))]);
showSizes();
ops.addEventListener('change', showSizes);
stop.addEventListener('click', () => {
  stopped = true;
});
// both runtimes start their threads once
field('threads').addEventListener('change', ({ target }) => {
  location.search = `threads=${(target as HTMLInputElement).value}`;
});

start().then(
  (report) => {
    run.disabled = false;
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      [run.disabled, stop.disabled] = [true, false];
      await measureChosen(report).catch((error) => show(0, String(error)));
      [run.disabled, stop.disabled] = [false, true];
    });
  },
  (error) => show(0, String(error)),
);
