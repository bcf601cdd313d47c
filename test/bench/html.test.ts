import { readFileSync } from 'node:fs';
import { parseHTML } from 'linkedom';
import { beforeAll, describe, expect, it } from 'vitest';
import { htmlOf } from '../../bench/html';
import type { Report, Row } from '../../bench/report';

const committed: Report = JSON.parse(
  readFileSync(new URL('../../bench/results/node20.json', import.meta.url), 'utf8'),
);

async function pageOf(report: Report): Promise<Document> {
  return parseHTML(await htmlOf(report)).document as unknown as Document;
}

const sectionOf = (page: Document, title: string) =>
  Array.from(page.querySelectorAll('section')).find(
    (section) => section.querySelector('h2')!.textContent === title,
  );
const rivals = ({ rows }: Report) =>
  rows
    .flatMap(({ times }) => Object.keys(times))
    .filter((name) => !['linnet', 'forward + backward'].includes(name));

describe('the committed report as a page', () => {
  let page: Document;
  beforeAll(async () => {
    page = await pageOf(committed);
  }, 120_000);

  it('has a dot under the roof per row that computes', () => {
    const roofline = sectionOf(page, 'Roofline')!;
    const computing = committed.rows.filter(({ flops }) => flops > 0);
    expect(roofline.querySelectorAll('circle').length).toBe(computing.length);
    expect(roofline.querySelectorAll('g[aria-label="line"] path').length).toBe(1);
  });

  it('has a bar per rival of a row', () => {
    const charts = sectionOf(page, 'Rivals')!;
    expect(charts.querySelectorAll('g[aria-label="bar"] rect').length).toBe(rivals(committed).length);
    expect(charts.querySelectorAll('figure').length).toBe(new Set(rivals(committed)).size);
  });

  it('has a line of the table per row, and names machine and versions', () => {
    expect(page.querySelectorAll('tbody tr').length).toBe(committed.rows.length);
    const text = sectionOf(page, 'Conditions')!.textContent!;
    for (const part of [committed.machine.cpu, committed.node!, committed.packages['onnxruntime-web']])
      expect(text).toContain(part);
  });

  it('draws numbers only', () => {
    expect(page.toString()).not.toMatch(/NaN|Infinity|undefined/);
  });
});

it('rows that differ in T become curves, one a contender, beside softmax attention', async () => {
  const row = (op: string, id: string, ms: Record<string, number>): Row => ({
    ...committed.rows[0],
    op,
    id,
    times: Object.fromEntries(
      Object.entries(ms).map(([name, median]) => [name, { median, p95: median, rme: 1, samples: 9 }]),
    ),
  });
  const rows = [512, 1024, 2048].flatMap((T) => [
    row('scaledDotProductAttention', `causal T${T} H8 D64`, { linnet: T ** 2 / 1e5, naive: T ** 2 / 1e4 }),
    row('gla', `T${T} H8 K64 V64`, { linnet: T / 100, 'forward + backward': T / 25 }),
  ]);
  const page = await pageOf({ ...committed, rows: [...rows, row('topkRouting', 'N4096', { linnet: 1 })] });
  const curves = Array.from(sectionOf(page, 'Scaling')!.querySelectorAll('figure')).map((figure) => [
    figure.querySelectorAll('g[aria-label="line"] path').length,
    figure.querySelectorAll('circle').length,
  ]);
  // linnet and naive; linnet, with its gradient, and softmax attention
  expect(curves).toEqual([
    [2, 6],
    [3, 9],
  ]);
  expect(page.toString()).not.toMatch(/NaN|Infinity|undefined/);
});

it('a report without rivals, flops or lengths is a page as well', async () => {
  const { linnet } = committed.rows[0].times;
  const rows = [{ ...committed.rows[0], id: 'x', flops: 0, gflops: 0, times: { linnet } }];
  const page = await pageOf({ ...committed, rows });
  expect(page.querySelectorAll('tbody tr').length).toBe(1);
  expect(sectionOf(page, 'Scaling')).toBeUndefined();
  expect(page.toString()).not.toMatch(/NaN|Infinity|undefined/);
});
