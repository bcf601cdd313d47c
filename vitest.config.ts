import { defineConfig } from 'vitest/config';

/** `npm test` runs the default suite; `npm run test:slow` (SLOW=1) the exhaustive one. */
const kind = process.env.SLOW === '1' ? 'slow' : 'test';

export default defineConfig({
  test: {
    testTimeout: 60_000,
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: 'one thread',
          include: [`test/**/*.${kind}.ts`],
          exclude: ['test/threads/**'],
          setupFiles: ['test/setup.ts'],
        },
      },
      {
        extends: true,
        test: {
          name: 'threads',
          include: [`test/threads/**/*.${kind}.ts`],
          setupFiles: ['test/threads/setup.ts'],
        },
      },
    ],
  },
});
