import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { tableOf } from '../bench/report';
import { catalog } from '../src/catalog';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
/** Text without the widths of its tables, which the formatter sets. */
const narrow = (text: string) => text.replace(/ +/g, ' ').replace(/-{3,}/g, '---');
const readme = read('README.md');

it('the README lists every op', () => {
  const rows = narrow(readme);
  for (const { name, family } of catalog) expect(rows).toContain(`| \`${name}\` | ${family} |`);
});

it('the README says each thing once', () => {
  const headings = readme.match(/^#+ .*$/gm)!;
  expect(headings).toEqual([...new Set(headings)]);
});

it('numbers of speed are those of the committed results', () => {
  const page = narrow(read('docs/bench.md'));
  const table = narrow(tableOf(JSON.parse(read('bench/results/node20.json'))));
  expect(page).toContain(table);
  const [, section] = /## Speed\n([\s\S]*?)\n## /.exec(readme)!;
  const rows = section.split('\n').filter((line) => line.startsWith('|'));
  expect(rows.length).toBeGreaterThan(10);
  for (const row of rows) expect(table.split('\n')).toContain(narrow(row));
});

it.each([
  ['Two threads', 'node20-two-threads'],
  ['Relaxed SIMD', 'node24-relaxed'],
])('numbers of "%s" are those of the committed results', (heading, name) => {
  const table = narrow(tableOf(JSON.parse(read(`bench/results/${name}.json`)))).split('\n');
  const [, section] = read('docs/bench.md').split(`## ${heading}\n`);
  const rows = section
    .split('\n## ')[0]
    .split('\n')
    .filter((line) => line.startsWith('|'));
  expect(rows.length).toBeGreaterThan(10);
  for (const row of rows) expect(table).toContain(narrow(row));
});
