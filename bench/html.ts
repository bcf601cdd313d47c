import { writeFileSync } from 'node:fs';
import { UsageError } from '../src/cli/arguments';
import { element, STYLE, sectionsOf } from './page/page';
import type { Report } from './report';

/** @throws UsageError where the packages that draw a page are not installed. */
export async function pageLibraries() {
  try {
    const [plot, { parseHTML }] = await Promise.all([import('@observablehq/plot'), import('linkedom')]);
    return { plot, parseHTML };
  } catch {
    throw new UsageError('a page needs two packages more: npm install @observablehq/plot linkedom');
  }
}

/** The report as one page that needs nothing else, no script either. */
export async function htmlOf(report: Report): Promise<string> {
  const { plot, parseHTML } = await pageLibraries();
  const { document } = parseHTML('<!doctype html><html lang="en"><head></head><body></body></html>');
  const charset = element(document, 'meta');
  charset.setAttribute('charset', 'utf-8');
  const title = `linnet ${report.linnet}: benchmark of ${report.date}`;
  document.head.append(charset, element(document, 'title', title), element(document, 'style', STYLE));
  document.body.append(element(document, 'h1', title), ...sectionsOf(plot, document, report));
  return document.toString();
}

export async function writeHtml(report: Report, file: string): Promise<void> {
  const page = await htmlOf(report);
  try {
    writeFileSync(file, page);
  } catch (error) {
    throw new UsageError(`cannot write ${file}: ${(error as Error).message}`);
  }
}
