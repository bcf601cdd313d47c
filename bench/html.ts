import { writeFileSync } from 'node:fs';
import { element, STYLE, sectionsOf } from './page/page';
import type { Report } from './report';

async function libraries() {
  try {
    const [plot, { parseHTML }] = await Promise.all([import('@observablehq/plot'), import('linkedom')]);
    return { plot, parseHTML };
  } catch (cause) {
    throw new Error(
      'bench: a report as a page needs two packages more: npm install @observablehq/plot linkedom',
      { cause },
    );
  }
}

/** The report as one page that needs nothing else, no script either. */
export async function htmlOf(report: Report): Promise<string> {
  const { plot, parseHTML } = await libraries();
  const { document } = parseHTML('<!doctype html><html lang="en"><head></head><body></body></html>');
  const charset = element(document, 'meta');
  charset.setAttribute('charset', 'utf-8');
  const title = `linnet ${report.linnet}: benchmark of ${report.date}`;
  document.head.append(charset, element(document, 'title', title), element(document, 'style', STYLE));
  document.body.append(element(document, 'h1', title), ...sectionsOf(plot, document, report));
  return document.toString();
}

export async function writeHtml(report: Report, file: string): Promise<void> {
  writeFileSync(file, await htmlOf(report));
}
