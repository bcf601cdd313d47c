import { afterEach, describe, expect, it, vi } from 'vitest';
import { catalog } from '../../src/catalog';
import { verify, verifyCommand } from '../../src/cli/verify';

const rmsNorm = catalog.find(({ name }) => name === 'rmsNorm')!;
const printed: string[] = [];
const capture = () => {
  printed.length = 0;
  vi.spyOn(console, 'log').mockImplementation((line: string) => void printed.push(line));
};
afterEach(() => vi.restoreAllMocks());

describe('verify', () => {
  it('measures kernel, gradient and plain tfjs ops of an op', () => {
    const verdict = verify(rmsNorm);
    expect(verdict).toMatchObject({ op: 'rmsNorm', cases: rmsNorm.cases.length, passed: true });
    for (const error of [verdict.output, verdict.gradient, verdict.naive!]) {
      expect(error).toBeGreaterThan(0);
      expect(error).toBeLessThan(1e-6);
    }
  });

  it('fails an op outside of its bounds', () => {
    for (const bounds of [{ r: 0 }, { m: 0 }, { gradient: 0 }]) {
      expect(verify({ ...rmsNorm, bounds: { ...rmsNorm.bounds, ...bounds } }).passed).toBe(false);
    }
  });
});

describe('verifyCommand', () => {
  it('prints a row per op', () => {
    capture();
    expect(verifyCommand({ op: 'rmsNorm' })).toBe(true);
    expect(printed.join('\n')).toMatch(/\nrmsNorm +3( +\d\.\de-\d){3} {2}pass\n/);
  });

  it('prints JSON when asked to', () => {
    capture();
    verifyCommand({ op: 'rmsNorm', json: true });
    expect(JSON.parse(printed.join(''))).toEqual([verify(rmsNorm)]);
  });
});
