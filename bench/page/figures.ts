import type * as ObservablePlot from '@observablehq/plot';
import { type Report, type Row, WITH_GRADIENT } from '../report';

export interface Figure {
  title: string;
  caption: string;
  plots: Element[];
}
export type Plot = typeof ObservablePlot;

const WIDTH = 460;
const LINNET = 'linnet';
const SOFTMAX = 'softmax attention (linnet)';

interface Point {
  T: number;
  ms: number;
  contender: string;
}

/** The length in a workload's id, such as 2048 of `causal T2048 H8 D64`. */
const lengthOf = ({ id }: Row) => Number(/\bT(\d+)\b/.exec(id)?.[1]);
const withoutLength = ({ id }: Row) => id.replace(/\bT\d+\b ?/, '').trim();

/** Rows of one op and shape that differ in T alone, where there are several. */
function seriesOf(rows: readonly Row[]): { op: string; shape: string; rows: Row[] }[] {
  const series = new Map<string, Row[]>();
  for (const row of rows.filter((r) => lengthOf(r) > 0)) {
    const key = `${row.op} ${withoutLength(row)}`;
    series.set(key, [...(series.get(key) ?? []), row]);
  }
  return [...series.values()]
    .filter((list) => new Set(list.map(lengthOf)).size > 1)
    .map((list) => ({ op: list[0].op, shape: withoutLength(list[0]), rows: list }));
}

function pointsOf(rows: readonly Row[]): Point[] {
  return rows.flatMap((row) =>
    Object.entries(row.times).map(([contender, { median }]) => ({
      T: lengthOf(row),
      ms: median,
      contender,
    })),
  );
}

function scaling(plot: Plot, document: Document, report: Report): Figure {
  const softmax = report.rows.filter(
    (row) => row.op === 'scaledDotProductAttention' && withoutLength(row) === 'causal H8 D64',
  );
  const reference = softmax.map((row) => ({
    T: lengthOf(row),
    ms: row.times.linnet.median,
    contender: SOFTMAX,
  }));
  const plots = seriesOf(report.rows).map(({ op, shape, rows }) => {
    const lengths = rows.map(lengthOf);
    const beside = reference.filter(({ T }) => T >= Math.min(...lengths) && T <= Math.max(...lengths));
    const points = [...pointsOf(rows), ...(op === 'scaledDotProductAttention' ? [] : beside)].sort(
      (a, b) => a.T - b.T,
    );
    const ticks = [...new Set(points.map(({ T }) => T))];
    return plot.plot({
      document,
      width: WIDTH,
      height: 300,
      marginLeft: 55,
      subtitle: `${op} ${shape}`,
      grid: true,
      x: { type: 'log', label: 'T', ticks, tickFormat: String },
      y: { type: 'log', label: 'ms' },
      color: { legend: true, domain: [...new Set(points.map(({ contender }) => contender))] },
      marks: [
        plot.line(points, {
          x: 'T',
          y: 'ms',
          stroke: 'contender',
          strokeWidth: ({ contender }: Point) => (contender === LINNET ? 3 : 1.5),
          z: 'contender',
        }),
        plot.dot(points, { x: 'T', y: 'ms', fill: 'contender', r: 3, title: titleOfPoint }),
      ],
    });
  });
  const caption =
    'Median time over the length of the sequence, both on logarithmic scales: a line of slope 1 is linear in T, one of ' +
    'slope 2 quadratic.';
  return { title: 'Scaling', caption, plots };
}

const titleOfPoint = ({ contender, T, ms }: Point) => `${contender}, T = ${T}: ${ms.toPrecision(3)} ms`;

function roofline(plot: Plot, document: Document, { rows, peak, threads }: Report): Figure {
  const dots = rows
    .filter(({ flops, bytes }) => flops > 0 && bytes > 0)
    .map(({ op, id, family, flops, bytes, gflops }) => ({
      intensity: flops / bytes,
      gflops,
      family,
      title: `${op} ${id}: ${gflops.toPrecision(3)} GFLOP/s at ${(flops / bytes).toPrecision(3)} flops per byte`,
    }));
  if (dots.length === 0) return { title: 'Roofline', caption: '', plots: [] };
  const ridge = peak.gflops / peak.gbytes;
  const intensities = [ridge, ...dots.map(({ intensity }) => intensity)];
  const roof = [Math.min(...intensities) / 2, ridge, 2 * Math.max(...intensities)].map((intensity) => ({
    intensity,
    gflops: Math.min(peak.gflops, intensity * peak.gbytes),
  }));
  const caption =
    `Rate over arithmetic intensity, the flops of a workload for each byte of its inputs and outputs. The roof is what one ` +
    `thread reaches at most here: ${peak.gflops.toFixed(1)} GFLOP/s on registers, ${peak.gbytes.toFixed(1)} GB/s of copying` +
    `${threads > 1 ? `; the dots are of ${threads} threads` : ''}.`;
  const chart = plot.plot({
    document,
    width: 2 * WIDTH,
    height: 420,
    marginLeft: 55,
    grid: true,
    x: { type: 'log', label: 'flops per byte', tickFormat: '~g' },
    y: { type: 'log', label: 'GFLOP/s' },
    color: { legend: true, domain: [...new Set(dots.map(({ family }) => family))] },
    marks: [
      plot.line(roof, { x: 'intensity', y: 'gflops', strokeWidth: 2 }),
      plot.dot(dots, { x: 'intensity', y: 'gflops', fill: 'family', r: 4, title: 'title' }),
    ],
  });
  return { title: 'Roofline', caption, plots: [chart] };
}

function ratios(plot: Plot, document: Document, { rows }: Report): Figure {
  const bars = rows.flatMap(({ op, id, times: { linnet, ...others } }) =>
    Object.entries(others)
      .filter(([name]) => name !== WITH_GRADIENT)
      .map(([rival, { median }]) => ({ rival, workload: `${op} ${id}`, ratio: median / linnet.median })),
  );
  const all = bars.map(({ ratio }) => ratio);
  const domain = [Math.min(1, ...all), Math.max(1, ...all)];
  const plots = [...new Set(bars.map(({ rival }) => rival))].map((rival) => {
    const own = bars.filter((bar) => bar.rival === rival).sort((a, b) => b.ratio - a.ratio);
    return plot.plot({
      document,
      width: 2 * WIDTH,
      height: 50 + 18 * own.length,
      marginLeft: 360,
      marginRight: 50,
      subtitle: `${rival}: how many times as long as linnet`,
      x: { type: 'log', domain, label: null, grid: true, tickFormat: (x: number) => `${x}x` },
      y: { label: null, domain: own.map(({ workload }) => workload) },
      marks: [
        plot.barX(own, {
          x1: 1,
          x2: 'ratio',
          y: 'workload',
          fill: ({ ratio }) => (ratio >= 1 ? '#4e79a7' : '#e15759'),
        }),
        plot.text(own, {
          x: ({ ratio }) => Math.max(1, ratio),
          y: 'workload',
          text: ({ ratio }) => `${ratio.toFixed(ratio < 9.95 ? 1 : 0)}x`,
          dx: 4,
          textAnchor: 'start',
        }),
        plot.ruleX([1]),
      ],
    });
  });
  const caption = 'Median time of each rival over that of linnet. Blue: linnet is faster; red: the rival is.';
  return { title: 'Rivals', caption, plots };
}

/** The report as plots, by kind; none where it has nothing of that kind. */
export function figuresOf(plot: Plot, document: Document, report: Report): Figure[] {
  return [scaling, roofline, ratios]
    .map((figure) => figure(plot, document, report))
    .filter(({ plots }) => plots.length > 0);
}
