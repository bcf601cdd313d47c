import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { Report } from '../../bench/report';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

it('the docs say why for every op that stays under 60 percent of its bound', () => {
  const { rows } = JSON.parse(read('bench/results/node20.json')) as Report;
  const below = rows.filter(
    ({ percentOfBound, percentWithGradients = 100 }) => percentOfBound < 60 || percentWithGradients < 60,
  );
  const [, reasons] = read('docs/bench.md').split('## Below 60 percent of the bound');
  expect(below.map(({ op }) => op).filter((op) => !reasons.includes(`\`${op}\``))).toEqual([]);
});
