import path from 'node:path';
import ts from 'typescript';
import { expect, it } from 'vitest';

const ENTRIES = {
  index: 'src/index.ts',
  reference: 'src/reference.ts',
  models: 'src/models/index.ts',
  nn: 'src/nn/layers/index.ts',
};
const root = path.resolve(import.meta.dirname, '../..');
const { config } = ts.readConfigFile(path.join(root, 'tsconfig.json'), ts.sys.readFile);
const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
const program = ts.createProgram(
  Object.values(ENTRIES).map((file) => path.join(root, file)),
  options,
);
const checker = program.getTypeChecker();
const FORMAT = ts.TypeFormatFlags.NoTruncation | ts.TypeFormatFlags.UseAliasDefinedOutsideCurrentScope;

const short = (text: string) => text.replaceAll('Tensor<Rank>', 'Tensor').replaceAll(`${root}/`, '');
const textOf = (type: ts.Type, flags = FORMAT) => short(checker.typeToString(type, undefined, flags));
const callOf = (signature: ts.Signature) => short(checker.signatureToString(signature, undefined, FORMAT));
const isPrivate = (symbol: ts.Symbol) =>
  symbol.declarations?.some(
    (node) =>
      ts.getCombinedModifierFlags(node as ts.Declaration) &
      (ts.ModifierFlags.Private | ts.ModifierFlags.Protected),
  ) ?? false;

/** `name?: type` of every public member, methods with each of their overloads. */
function membersOf(type: ts.Type): string[] {
  return checker
    .getPropertiesOfType(type)
    .filter((member) => !isPrivate(member) && member.name !== 'prototype')
    .flatMap((member) => {
      const optional = member.flags & ts.SymbolFlags.Optional ? '?' : '';
      const name = `  ${member.name.replace(/^__@(\w+)@\d+$/, '[Symbol.$1]')}${optional}`;
      const own = checker.getTypeOfSymbol(member);
      const calls = own.getCallSignatures();
      return calls.length === 0 ? `${name}: ${textOf(own)}` : calls.map((call) => name + callOf(call));
    });
}

/** What a user can see of an export, on lines of text. */
function describeExport(exported: ts.Symbol): string[] {
  const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
  const { name } = exported;
  const lines: string[] = [];
  if (symbol.flags & ts.SymbolFlags.Class) {
    const type = checker.getTypeOfSymbol(symbol);
    lines.push(`class ${name}`, ...membersOf(checker.getDeclaredTypeOfSymbol(symbol)));
    lines.push(...type.getConstructSignatures().map((one) => `  new${callOf(one)}`));
    lines.push(...membersOf(type).map((member) => `  static${member.slice(1)}`));
  } else if (symbol.flags & ts.SymbolFlags.Interface) {
    lines.push(`interface ${name}`, ...membersOf(checker.getDeclaredTypeOfSymbol(symbol)));
  } else if (symbol.flags & ts.SymbolFlags.TypeAlias) {
    const type = checker.getDeclaredTypeOfSymbol(symbol);
    lines.push(`type ${name} = ${textOf(type, FORMAT | ts.TypeFormatFlags.InTypeAlias)}`);
  }
  if (symbol.flags & ts.SymbolFlags.Value && !(symbol.flags & ts.SymbolFlags.Class)) {
    const type = checker.getTypeOfSymbol(symbol);
    const calls = type.getCallSignatures();
    if (calls.length > 0) lines.push(...calls.map((call) => `function ${name}${callOf(call)}`));
    else if (type.symbol?.flags & ts.SymbolFlags.ObjectLiteral)
      lines.push(`const ${name}`, ...membersOf(type));
    else lines.push(`const ${name}: ${textOf(type)}`);
  }
  return lines;
}

/** `vitest run test/package/api.test.ts -u` accepts a change. */
it.each(Object.entries(ENTRIES))('the public interface of %s is what it was', async (entry, file) => {
  const source = program.getSourceFile(path.join(root, file))!;
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(source)!);
  const lines = exported.sort((a, b) => (a.name < b.name ? -1 : 1)).flatMap(describeExport);
  await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot(`api/${entry}.txt`);
});
