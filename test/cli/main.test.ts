import { writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { version } from '../../package.json';
import { commands } from '../../src/cli/commands';
import { main } from '../../src/cli/main';

const out: string[] = [];
const complaints: string[] = [];
beforeEach(() => {
  out.length = complaints.length = 0;
  vi.spyOn(console, 'log').mockImplementation((text: string) => void out.push(text));
  vi.spyOn(console, 'error').mockImplementation((text: string) => void complaints.push(text));
});
afterEach(() => vi.restoreAllMocks());

const run = (line: string) => main(line === '' ? [] : line.split(' '));

describe('help', () => {
  it('lists the commands', async () => {
    expect(await run('--help')).toBe(0);
    for (const name of Object.keys(commands))
      expect(out.join('\n')).toMatch(new RegExp(`^ {2}${name} `, 'm'));
  });

  it('is what a line without a command gets', async () => {
    expect(await run('')).toBe(2);
    expect(complaints.join('\n')).toMatch(/^Usage: linnet <command>/);
  });

  it.each(Object.entries(commands))('of %s lists its options', async (name, { options }) => {
    expect(await run(`${name} --help`)).toBe(0);
    const text = out.join('\n');
    expect(text).toMatch(new RegExp(`^Usage: linnet ${name}`));
    for (const option of Object.keys(options)) expect(text).toMatch(new RegExp(`^ {2}--${option} `, 'm'));
    expect(Math.max(...text.split('\n').map(({ length }) => length))).toBeLessThan(100);
  });

  it('has the version', async () => {
    expect(await run('--version')).toBe(0);
    expect(out).toEqual([version]);
  });
});

describe('a wrong line is answered by one line and code 2:', () => {
  it.each([
    ['train', "linnet: no command 'train' (see linnet --help)"],
    ['toString', "linnet: no command 'toString' (see linnet --help)"],
    ['--fast', "linnet: unknown option '--fast' (see linnet --help)"],
    ['bench --fast', "linnet bench: Unknown option '--fast' (see linnet bench --help)"],
    ['verify --quick', "linnet verify: Unknown option '--quick' (see linnet verify --help)"],
    ['verify rmsNorm', "linnet verify: Unexpected argument 'rmsNorm' (see linnet verify --help)"],
    ['verify --op', "linnet verify: Option '--op <value>' argument missing (see linnet verify --help)"],
    [
      'verify --op norm',
      "linnet verify: no op is named 'norm'; there is rmsNormGated, rmsNorm, l2Norm (see linnet verify --help)",
    ],
    ['bench --op gru', "linnet bench: no op is named 'gru' (see linnet bench --help)"],
    [
      'bench --op gla --shape T3',
      'linnet bench: no workload is of that op and shape (see linnet bench --help)',
    ],
    ['bench --models --op gla', 'linnet bench: --models does not go with --op (see linnet bench --help)'],
    [
      'bench --threads two',
      "linnet bench: --threads must be a whole number of at least 1; got 'two' (see linnet bench --help)",
    ],
    ['fuzz --seconds -1', /^linnet fuzz: Option '--seconds' argument is ambiguous/],
    [
      'fuzz --seconds=0',
      "linnet fuzz: --seconds must be a whole number of at least 1; got '0' (see linnet fuzz --help)",
    ],
    ['table', 'linnet table: expected <report.json>; got 0 arguments (see linnet table --help)'],
    [
      'html a.json',
      'linnet html: expected <report.json> <out.html>; got 1 arguments (see linnet html --help)',
    ],
    ['table no-such.json', /^linnet table: cannot read no-such\.json: ENOENT/],
    ['bench --compare no-such.json', /^linnet bench: cannot read no-such\.json: ENOENT/],
  ])('%s', async (line, expected) => {
    expect(await run(line)).toBe(2);
    expect(complaints).toEqual([typeof expected === 'string' ? expected : expect.stringMatching(expected)]);
    expect(complaints[0]).not.toContain('\n');
  });

  it('a file that is no report', async () => {
    const file = path.join(os.tmpdir(), `linnet-${process.pid}.json`);
    writeFileSync(file, '[]');
    expect(await run(`table ${file}`)).toBe(2);
    expect(complaints[0]).toContain(`${file} is no report of linnet bench --json`);
  });
});

it('a right line runs and passes its code on', async () => {
  expect(await run('verify --op rmsNorm')).toBe(0);
  expect(out.join('\n')).toMatch(/\nrmsNorm .* pass\n/);
});
