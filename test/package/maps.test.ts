import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';

const dist = path.resolve(import.meta.dirname, '../../dist');
const maps = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.map'));

/** Needs `npm run build`. */
it('no source map names a path of the machine that built it', () => {
  expect(maps.length).toBeGreaterThan(0);
  for (const file of maps) {
    const map = JSON.parse(readFileSync(path.join(dist, file), 'utf8'));
    for (const name of [map.file ?? '', map.sourceRoot ?? '', ...map.sources])
      expect(path.isAbsolute(name), `${file}: ${name}`).toBe(false);
  }
});

it('every source map has the text of its sources', () => {
  for (const file of maps) {
    const { sources, sourcesContent } = JSON.parse(readFileSync(path.join(dist, file), 'utf8'));
    for (const [i, source] of sources.entries())
      if (source.startsWith('..')) expect(sourcesContent[i], `${file}: ${source}`).toBeTypeOf('string');
  }
});
