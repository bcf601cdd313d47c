import { defineConfig } from 'vitest/config';

/** `npm test` runs the default suite, that of Chromium included; `npm run test:slow` the exhaustive one. */
const kind = process.env.SUITE ?? 'test';

/** Tests that set linnet up in a way of their own have a folder and a setup file. */
const own = (name: string) => ({
  extends: true as const,
  test: { name, include: [`test/${name}/**/*.${kind}.ts`], setupFiles: [`test/${name}/setup.ts`] },
});

export default defineConfig({
  // examples and docs import the package by its name
  resolve: {
    alias: [
      { find: /^linnet$/, replacement: `${import.meta.dirname}/src/index.ts` },
      { find: /^linnet\/nn$/, replacement: `${import.meta.dirname}/src/nn/layers/index.ts` },
      { find: /^linnet\/(.*)$/, replacement: `${import.meta.dirname}/src/$1` },
    ],
  },
  test: {
    testTimeout: 60_000,
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: 'ops',
          include: [`test/**/*.${kind}.ts`],
          exclude: ['test/threads/**', 'test/relaxed/**', 'test/package/**', 'test/browser/**'],
          setupFiles: ['test/setup.ts'],
        },
      },
      {
        extends: true,
        test: { name: 'package', include: [`test/package/**/*.${kind}.ts`], testTimeout: 300_000 },
      },
      {
        extends: true,
        test: {
          name: 'browser',
          include: ['test', 'browser'].includes(kind) ? ['test/browser/**/*.browser.ts'] : [],
        },
      },
      own('threads'),
      own('relaxed'),
    ],
  },
});
