import { readFileSync } from 'node:fs';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { catalog } from '../../src/catalog';
import { filesOf, writePrograms } from './blocks';
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

const source = filesOf('src', '.ts')
  .map((path) => readFileSync(path, 'utf8'))
  .join('\n');

/** The docstring right before the first declaration of a function. */
function docstringOf(name: string): string {
  const declaration = source.search(new RegExp(`^export function ${name}[<(]`, 'm'));
  return source.slice(0, declaration).split('/**').at(-1)!;
}

it.each(catalog.map(({ name }) => name))(
  'the docstring of %s has formula, shapes, errors, source and an example',
  (name) => {
    const docstring = docstringOf(name);
    const [summary] = docstring.split('@param');
    expect(summary).toMatch(/`[^`]+`/);
    for (const part of [/@param \w+ [^@]*`\[/, /@returns /, /@throws /, /@see /])
      expect(docstring).toMatch(part);
    expect(docstring.split('@example')[1]).toContain(`${name}(`);
  },
);

it('guide/names.md has the name of every op', () => {
  const page = readFileSync('docs/guide/names.md', 'utf8');
  expect(catalog.filter(({ name }) => !page.includes(`\`${name}\``)).map(({ name }) => name)).toEqual([]);
});
