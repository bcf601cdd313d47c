import { parseArgs } from 'node:util';

/** What the user has to change; told in one line. */
export class UsageError extends Error {}

export interface Option {
  text: string;
  /** How the help names the option's value; without it the option is a switch. */
  value?: string;
  /** The value is a whole number of at least this. */
  least?: number;
  /** The values there are. */
  choices?: readonly string[];
}
type Options = Readonly<Record<string, Option>>;
type ValueOf<O extends Option> = O extends { least: number }
  ? number
  : O extends { value: string }
    ? string
    : boolean;
type Values<O extends Options> = { [Name in keyof O]?: ValueOf<O[Name]> };

export interface Command {
  summary: string;
  /** Names of the arguments before the options, all required. */
  operands: readonly string[];
  options: Options;
  run(values: Values<Options>, operands: readonly string[]): Promise<number>;
}

/** A command; `run` resolves to the exit code. */
export function command<const O extends Options>(
  given: Omit<Command, 'operands' | 'options' | 'run'> & {
    operands?: readonly string[];
    options: O;
    run(values: Values<O>, operands: readonly string[]): Promise<number>;
  },
): Command {
  return { operands: [], ...given } as Command;
}

const HELP: Option = { text: 'this text' };

const columns = (rows: readonly (readonly [string, string])[]) => {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join('\n');
};

export function usageOf(name: string, { summary, operands, options }: Command): string {
  const words = ['Usage: linnet', name, ...operands.map((operand) => `<${operand}>`)];
  const rows = Object.entries({ ...options, help: HELP }).map(
    ([option, { value, text }]) => [`--${option}${value ? ` <${value}>` : ''}`, text] as const,
  );
  return `${words.join(' ')} [options]\n\n${summary}.\n\nOptions:\n${columns(rows)}`;
}

export function overview(commands: Readonly<Record<string, Command>>): string {
  const rows = Object.entries(commands).map(([name, { summary }]) => [name, summary] as const);
  const options = columns([
    ['--help', 'this text, or after a command the options of the command'],
    ['--version', 'the version'],
  ]);
  return `Usage: linnet <command> [options]\n\nCommands:\n${columns(rows)}\n\nOptions:\n${options}`;
}

function checkedValue(
  name: string,
  { least, choices }: Option,
  given: string | boolean,
): string | number | boolean {
  if (choices !== undefined && !choices.includes(given as string)) {
    const near = choices.filter((one) => one.toLowerCase().includes(String(given).toLowerCase()));
    const hint = given !== '' && near.length > 0 ? `; there is ${near.slice(0, 5).join(', ')}` : '';
    throw new UsageError(`no ${name} is named '${given}'${hint}`);
  }
  if (least === undefined) return given;
  const number = given === '' ? Number.NaN : Number(given);
  if (!Number.isSafeInteger(number) || number < least)
    throw new UsageError(`--${name} must be a whole number of at least ${least}; got '${given}'`);
  return number;
}

/** @throws UsageError for options that the command does not have, wrong values and wrong operands. */
export function parse({ operands, options }: Command, args: readonly string[]) {
  const all: Options = { ...options, help: HELP };
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({
      args: [...args],
      allowPositionals: operands.length > 0,
      options: Object.fromEntries(
        Object.entries(all).map(([name, { value }]) => [name, { type: value ? 'string' : 'boolean' }]),
      ),
    });
  } catch (error) {
    throw new UsageError((error as Error).message.split(/\. |\n/)[0]);
  }
  const { values, positionals } = parsed;
  if (values.help) return { help: true, values: {}, positionals };
  if (positionals.length !== operands.length) {
    const expected = operands.map((operand) => `<${operand}>`).join(' ');
    throw new UsageError(`expected ${expected || 'no arguments'}; got ${positionals.length} arguments`);
  }
  const checked = Object.entries(values).map(([name, given]) => [
    name,
    checkedValue(name, all[name], given as string | boolean),
  ]);
  return { help: false, values: Object.fromEntries(checked), positionals };
}
