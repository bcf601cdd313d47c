import { expect, it } from 'vitest';
import { workloads } from '../../bench/workloads';
import { catalog } from '../../src/catalog';

it('every op of the catalog has a workload', () => {
  const timed = new Set<string>(workloads.map(({ op }) => op));
  expect(catalog.map(({ name }) => name).filter((name) => !timed.has(name))).toEqual([]);
});

it('a workload has a name of its own', () => {
  const names = workloads.map(({ op, id }) => `${op} ${id}`);
  expect(names).toEqual([...new Set(names)]);
});

it('a workload differentiates inputs it has', () => {
  for (const { differentiable = [], inputs } of workloads)
    expect(Object.keys(inputs)).toEqual(expect.arrayContaining([...differentiable]));
});
