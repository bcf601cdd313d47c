import { readdirSync, readFileSync } from 'node:fs';
import { type Report, tableOf } from '../../bench/report';
import type { CatalogEntry } from '../../src/catalog/types';
import type { Verdict } from '../../src/cli/verify';
import { type Declaration, index, propertiesOf, textOf, typeText } from './api';

const docs = new URL('../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, docs), 'utf8');

const cell = (text: string) => text.replace(/\s*\n\s*/g, ' ').replaceAll('|', '\\|');
const table = (head: string[], rows: string[][]) =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n');
const section = (title: string, ...parts: (string | undefined)[]) => {
  const text = parts.filter(Boolean).join('\n\n');
  return text === '' ? '' : `## ${title}\n\n${text}`;
};

const isTensor = (parameter: Declaration) => /^(Tensor|Complex)\b/.test(typeText(parameter.type));

function declarationText({ name, parameters = [], type }: Declaration): string {
  const declared = parameters.map(
    ({ name, flags, type, defaultValue }) =>
      `${name}${flags.isOptional || defaultValue ? '?' : ''}: ${typeText(type)}`,
  );
  return `function ${name}(${declared.join(', ')}): ${typeText(type)};`;
}

const shown = (error: number | undefined) => (error === undefined ? '' : error.toExponential(1));

/** The bounds of an op, and how far its cases stay within them. */
function errorTable({ bounds }: CatalogEntry, verdict: Verdict | undefined): string {
  const rows = [['bound', ...[bounds.r, bounds.m, bounds.gradient].map((bound) => bound.toExponential())]];
  if (verdict !== undefined) {
    const { output, max, gradient, naive } = verdict;
    rows.push([
      'linnet, worst case',
      shown(output),
      shown(max),
      bounds.gradient === 0 ? '' : shown(gradient),
    ]);
    if (naive !== undefined) rows.push(['plain float32 tfjs ops, worst case', shown(naive), '', '']);
  }
  return table(
    ['', 'RMSE(err) / RMSE(ref)', 'max abs err / max abs ref', 'RMSE of gradients, relative'],
    rows,
  );
}

/**
 * The page of an op: its docstring, what the catalog tests, the errors that were measured, and its rows of the committed
 * benchmark.
 */
export function opPages(
  catalog: readonly CatalogEntry[],
  verdicts: readonly Verdict[],
): { params: { op: string }; content: string }[] {
  const api: Declaration = JSON.parse(read('api/api.json'));
  const byId = index(api);
  const functions = api.children!.find(({ name }) => name === 'linnet')!.children!;
  const { rows }: Report = JSON.parse(read('../bench/results/node20.json'));
  const guides = readdirSync(docs)
    .filter((name) => name.endsWith('.md') && !['index.md', 'bench.md', 'survey.md'].includes(name))
    .map((name) => ({ name, title: /^# (.*)$/m.exec(read(name))![1], text: read(name) }));

  return catalog.map((entry) => {
    const { signatures } = functions.find(({ name }) => name === entry.name)!;
    const { comment } = signatures![0];
    const tag = (name: string) => textOf(comment!.blockTags!.find((block) => block.tag === name)?.content);
    const described = signatures![0].parameters!;
    const objects = described.filter(
      (parameter) => !isTensor(parameter) && propertiesOf(parameter.type, byId).length > 0,
    );
    const own = rows.filter(({ op }) => op === entry.name);
    const content = [
      `# ${entry.name}`,
      textOf(comment!.summary),
      `\`\`\`typescript\n${signatures!.map(declarationText).join('\n')}\n\`\`\``,
      section(
        'Arguments',
        table(
          ['', 'type', ''],
          described.map((parameter) => [
            `\`${parameter.name}\``,
            `\`${typeText(parameter.type).replace(/ & \{ \w+: true \}$/, '')}\``,
            textOf(parameter.comment?.summary),
          ]),
        ),
        ...objects.map((parameter) =>
          table(
            [`${parameter.name}.`, 'type', ''],
            propertiesOf(parameter.type, byId).map(({ name, type, text }) => [
              `\`${name}\``,
              `\`${type}\``,
              text,
            ]),
          ),
        ),
      ),
      section('Result', tag('@returns'), `Throws: ${tag('@throws')}.`),
      section('Example', tag('@example')),
      section(
        'Source',
        tag('@see') && `${tag('@see')}.`,
        `Paper: [${entry.paper.title}](${entry.paper.url}).`,
      ),
      section(
        'Limits and numerics',
        entry.bounds.gradient === 0
          ? 'Inference only: no gradient.'
          : 'Gradients of first order, through `tf.grad` and its kin.',
        `Tensors are float32, indices int32. \`linnet verify --op ${entry.name}\` compares the kernel with the float64 reference on ${entry.cases.length} ${entry.cases.length === 1 ? 'case' : 'cases'} (${entry.cases.map(({ id }) => `\`${id}\``).join(', ')}) and passes when errors stay within these bounds:`,
        errorTable(
          entry,
          verdicts.find(({ op }) => op === entry.name),
        ),
      ),
      section(
        'Speed',
        own.length === 0 ? '' : `${tableOf({ rows: own })}\n\nOn one thread; [how it is measured](/bench).`,
      ),
      section(
        'More',
        [
          ...guides
            .filter(({ text }) => text.includes(`\`${entry.name}`) || text.includes(`## ${entry.name}\n`))
            .map(({ name, title }) => `- [${title}](/${name.replace('.md', '')})`),
          `- [Its types](/api/linnet/functions/${entry.name})`,
        ].join('\n'),
      ),
    ];
    return { params: { op: entry.name }, content: content.filter(Boolean).join('\n\n') };
  });
}
