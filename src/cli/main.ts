import { version } from '../../package.json';
import { type Command, overview, parse, UsageError, usageOf } from './arguments';
import { commands } from './commands';

/** Runs a command line; the exit code, 2 for one that is wrong. */
export async function main([name = '', ...args]: readonly string[]): Promise<number> {
  const known: Readonly<Record<string, Command>> = commands;
  if (name === '--help' || name === 'help') {
    console.log(overview(known));
    return 0;
  }
  if (name === '--version') {
    console.log(version);
    return 0;
  }
  if (!Object.hasOwn(known, name)) {
    const complaint = name.startsWith('-') ? `unknown option '${name}'` : `no command '${name}'`;
    console.error(name === '' ? overview(known) : `linnet: ${complaint} (see linnet --help)`);
    return 2;
  }
  try {
    const { help, values, positionals } = parse(known[name], args);
    if (!help) return await known[name].run(values, positionals);
    console.log(usageOf(name, known[name]));
    return 0;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(`linnet ${name}: ${error.message} (see linnet ${name} --help)`);
    return 2;
  }
}
