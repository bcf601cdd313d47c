import { expect, it } from 'vitest';
import { fuzz } from '../../src/cli/fuzz';

it('hostile arguments neither crash, leak nor write astray, and errors name op and argument', () => {
  const report = fuzz({ seed: 1, calls: 300 });
  expect(
    report.failures.map(({ arguments: given, reason, error }) => `${given}: ${reason}: ${error}`),
  ).toEqual([]);
  expect(report.accepted).toBeGreaterThan(50);
  expect(report.refused).toBeGreaterThan(50);
});
