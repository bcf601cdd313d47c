import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import type { Tensor } from '@tensorflow/tfjs-core';
import { expect } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const SOURCES: Readonly<Record<string, string>> = {
  linnet: 'index',
  'linnet/models': 'models/index',
  'linnet/nn': 'nn/layers/index',
  'linnet/reference': 'reference',
};

/** A program made of code blocks of one page, and what it is written to. */
export interface Program {
  /** Page and line of its first block. */
  name: string;
  file: string;
}

/** What a comment at the end of a line says the line prints. */
export function printed(values: unknown[], text: string) {
  const shown = values.map((value) => (typeof value === 'string' ? value : inspect(value))).join(' ');
  expect(shown.replace(/\s/g, '')).toBe(text.replace(/\s/g, ''));
}

/** What a comment at the end of a line says the shape of its result is. */
export function shaped({ shape }: Tensor, expected: number[]) {
  expect(shape).toEqual(expected);
}

interface Block {
  line: number;
  source: string;
}

/** The ts and js blocks of a text. */
function blocksOf(text: string): Block[] {
  return [...text.matchAll(/^```(?:ts|js)\n([\s\S]*?)^```$/gm)].map(({ 1: source, index }) => ({
    line: text.slice(0, index).split('\n').length,
    source,
  }));
}

/** A block that imports begins a program, one that does not goes on with the one before it. */
function programsOf(blocks: Block[]): Block[][] {
  const programs: Block[][] = [];
  for (const block of blocks) {
    if (/^import /m.test(block.source) || programs.length === 0) programs.push([]);
    programs.at(-1)!.push(block);
  }
  return programs;
}

/** Turns the comments that tell results into checks. */
function withChecks(line: string): string {
  const print = /^(\s*)console\.log\((.*)\); \/\/ (.*)$/.exec(line);
  if (print !== null) return `${print[1]}printed([${print[2]}], ${JSON.stringify(print[3])});`;
  const [, statement, comment] = /^(.*;) +\/\/ ((?:\w+ )?\[[\d, ]*\].*)$/.exec(line) ?? [];
  if (comment === undefined) return line;
  const declared = /^\s*const (\w+)\b/.exec(statement)?.[1];
  const checks = [...comment.matchAll(/(?:(\w+) )?(\[[\d, ]*\])/g)].map(
    ([, name = declared, shape]) => `shaped(${name}, ${shape});`,
  );
  return `${statement} ${checks.join(' ')}`;
}

function moduleOf(program: Block[]): string {
  const imports: string[] = [`import { printed, shaped } from '../../blocks';`];
  const bodies = program.map(({ source }) =>
    source
      .replace(/^import [\s\S]*?;$/gm, (statement) => {
        imports.push(
          statement.replace(/'(linnet[\w/]*)'/, (_, from) => `'../../../../src/${SOURCES[from] ?? from}'`),
        );
        return '';
      })
      .split('\n')
      .map(withChecks)
      .join('\n'),
  );
  return `${imports.join('\n')}\n${bodies.join('{\n')}${'}'.repeat(bodies.length - 1)}\nvoid [printed, shaped];\nexport {};\n`;
}

/** The files under a folder, without hidden and generated ones. */
export const filesOf = (path: string, ending: string): string[] =>
  readdirSync(`${root}${path}`, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending) && !/(^|\/)(\.|api\/)/.test(name))
    .map((name) => `${path}/${name}`);

/** Comments of a source file as text, line by line where they stand. */
const comments = (source: string) => source.replace(/^(?! *\*).*$/gm, '').replace(/^ *\* ?/gm, '');

/**
 * Writes the programs of README, docs and docstrings to files of their own, in a folder of this name that is not in
 * version control and that `tsc` does not look into.
 */
export function writePrograms(set: string): Program[] {
  const folder = `${root}test/docs/.programs/${set}/`;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const pages = ['README.md', ...filesOf('docs', '.md'), ...filesOf('src', '.ts')];
  return pages.flatMap((page) => {
    const text = readFileSync(`${root}${page}`, 'utf8');
    return programsOf(blocksOf(page.endsWith('.ts') ? comments(text) : text)).map((program) => {
      const name = `${page}:${program[0].line}`;
      const file = `${folder}${name.replace(/[^\w-]/g, '_')}.ts`;
      writeFileSync(file, moduleOf(program));
      return { name, file };
    });
  });
}
