import { COLUMNS, cellsOf, type Report } from '../report';
import { figuresOf, type Plot } from './figures';

export const STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2 { font-weight: 600; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; }
.plots > * { max-width: 100%; }
figure { margin: 0; }
figure h2, figure h3 { font-size: 13px; margin: 0; }
table { border-collapse: collapse; font-size: 13px; width: 100%; }
th, td { text-align: left; padding: 3px 8px; border-bottom: 1px solid #ddd; vertical-align: top; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dd { margin: 0; }
`;

/** An element with text or children. */
export function element(document: Document, tag: string, ...children: (string | Element)[]): HTMLElement {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

/** What was measured, where and with which versions. */
function conditions(document: Document, report: Report): HTMLElement {
  const { machine, packages, peak } = report;
  const memory = machine.memoryGiB === undefined ? '' : `, ${machine.memoryGiB} GiB`;
  const entries: [string, string | undefined][] = [
    ['date', report.date],
    ['machine', `${machine.cpu}, ${machine.cores} cores${memory}, ${machine.platform}`],
    ['Node', report.node && `${report.node} (V8 ${report.v8})`],
    ['browser', report.browser],
    [
      'linnet',
      `${report.linnet}, ${report.simd}, ${report.threads} thread${report.threads === 1 ? '' : 's'}`,
    ],
    ...Object.entries(packages),
    ['one thread at most', `${peak.gflops.toFixed(1)} GFLOP/s, ${peak.gbytes.toFixed(1)} GB/s`],
  ];
  const list = element(document, 'dl');
  for (const [name, value] of entries) {
    if (value !== undefined) list.append(element(document, 'dt', name), element(document, 'dd', value));
  }
  return list;
}

export function table(
  document: Document,
  columns: readonly string[],
  rows: readonly string[][],
): HTMLElement {
  const line = (tag: string, cells: readonly string[]) =>
    element(document, 'tr', ...cells.map((cell) => element(document, tag, cell)));
  return element(
    document,
    'table',
    element(document, 'thead', line('th', columns)),
    element(document, 'tbody', ...rows.map((cells) => line('td', cells))),
  );
}

/** The report as sections of a page: plots, every row, the conditions. */
export function sectionsOf(plot: Plot, document: Document, report: Report): HTMLElement[] {
  const section = (title: string, ...children: (string | Element)[]) =>
    element(document, 'section', element(document, 'h2', title), ...children);
  const figures = figuresOf(plot, document, report).map(({ title, caption, plots }) => {
    const holder = element(document, 'div', ...plots);
    holder.className = 'plots';
    return section(title, element(document, 'p', caption), holder);
  });
  return [
    ...figures,
    section('Workloads', table(document, COLUMNS, report.rows.map(cellsOf))),
    section('Conditions', conditions(document, report)),
  ];
}
