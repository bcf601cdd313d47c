import { readFileSync } from 'node:fs';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { catalog } from '../../src/catalog';
import { writePrograms } from './blocks';
import { runEach } from './run';

const programs = writePrograms('all');

/** What tsc says about the programs; names that are declared for the reader may be unused, imports may not. */
function complaints(): string[] {
  const files = programs.map(({ file }) => file);
  const { config } = ts.readConfigFile('tsconfig.json', ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [], files }, ts.sys, '.');
  const program = ts.createProgram(files, options);
  const unused = 6133;
  return programs.flatMap(({ name, file }) => {
    const source = program.getSourceFile(file)!;
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]
      .map(({ code, start = 0, messageText }) => {
        const { line } = source.getLineAndCharacterOfPosition(start);
        const text = source.text.split('\n')[line].trim();
        return { code, text, message: ts.flattenDiagnosticMessageText(messageText, ' ') };
      })
      .filter(({ code, text }) => code !== unused || text.startsWith('import'))
      .map(({ text, message }) => `${name}: ${message} in ${text}`);
  });
}

describe('code blocks', () => {
  // threads need a heap of their own kind, which test/threads sets up
  runEach(programs.filter(({ name }) => !name.startsWith('docs/guide/threads')));

  it('have no type errors', { timeout: 180_000 }, () => expect(complaints()).toEqual([]));
});

it('the docstring of every op has an example', () => {
  const examples = programs
    .filter(({ name }) => name.startsWith('src/'))
    .map(({ file }) => readFileSync(file, 'utf8'));
  const without = catalog.filter(({ name }) => !examples.some((text) => text.includes(`${name}(`)));
  expect(without.map(({ name }) => name)).toEqual([]);
});

it('guide/names.md has the name of every op', () => {
  const page = readFileSync('docs/guide/names.md', 'utf8');
  expect(catalog.filter(({ name }) => !page.includes(`\`${name}\``)).map(({ name }) => name)).toEqual([]);
});
