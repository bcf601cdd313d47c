import { defineConfig } from 'vitest/config';

/** `npm test` runs the default suite; `npm run test:slow` (SLOW=1) the exhaustive one. */
const slow = process.env.SLOW === '1';

export default defineConfig({
  test: {
    include: [slow ? 'test/**/*.slow.ts' : 'test/**/*.test.ts'],
    setupFiles: ['test/setup.ts'],
    testTimeout: 60_000,
    maxWorkers: 2,
  },
});
