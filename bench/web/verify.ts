import * as plot from '@observablehq/plot';
import { catalog } from '../../src/catalog';
import type { CatalogEntry } from '../../src/catalog/types';
import { type Verdict, verify } from '../../src/cli/verify';
import { ready } from '../../src/index';
import { element, table } from '../page/page';
import { field, fillOptions, form, show } from './setup';

const ALL = 'all of them';
const COLUMNS = ['op', 'cases', 'output', 'bound', 'gradient', 'bound', 'tfjs', ''];
/** Errors below are drawn as this: the same float32 number mostly. */
const LEAST = -12;

const main = document.querySelector('main')!;
const ops = field<HTMLSelectElement>('op');
const run = form.querySelector('button')!;
const shown = (error: number | undefined) => error?.toExponential(1) ?? '';

function cellsOf(verdict: Verdict, { bounds }: CatalogEntry): string[] {
  const { op, cases, output, gradient, naive, passed } = verdict;
  return [
    op,
    String(cases),
    shown(output),
    shown(bounds.r),
    shown(gradient),
    shown(bounds.gradient),
    shown(naive),
    passed ? 'pass' : 'FAIL',
  ];
}

function histogram(op: string, errors: readonly number[]): Element {
  const exponents = errors.map((error) => Math.max(LEAST, Math.log10(error)));
  return plot.plot({
    width: 300,
    height: 140,
    subtitle: op,
    x: { domain: [LEAST, -3], label: 'log10 of the error' },
    y: { label: 'outputs', ticks: 3 },
    marks: [
      plot.rectY(exponents, {
        ...plot.binX({ y: 'count' }, { x: (x: number) => x, interval: 0.25 }),
        fill: '#4e79a7',
      }),
      plot.ruleY([0]),
    ],
  });
}

async function verifyChosen(): Promise<void> {
  const entries = catalog.filter(({ name }) => ops.value === ALL || name === ops.value);
  const histograms = element(document, 'div');
  histograms.className = 'plots';
  const rows: string[][] = [];
  let failed = 0;
  for (const [i, entry] of entries.entries()) {
    await show(i / entries.length, entry.name);
    const errors: number[] = [];
    const verdict = verify(entry, (error) => errors.push(error));
    if (!verdict.passed) failed++;
    rows.push(cellsOf(verdict, entry));
    histograms.append(histogram(entry.name, errors));
    main.replaceChildren(table(document, COLUMNS, rows), histograms);
  }
  await show(1, failed === 0 ? `${entries.length} of ${entries.length} pass.` : `${failed} fail.`);
}

fillOptions(ops, [ALL, ...catalog.map(({ name }) => name)]);
ready().then(
  () => {
    run.disabled = false;
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      run.disabled = true;
      await verifyChosen().catch((error) => show(0, String(error)));
      run.disabled = false;
    });
  },
  (error) => show(0, String(error)),
);
