import { defineConfig } from 'vitest/config';

/** Fast tests first: what stands beside the code, then what crosses packages, then real guests, one at a time. */
export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    setupFiles: ['packages/core/src/engine/testing/seed-properties.ts'],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['packages/*/src/**/*.test.ts', 'scripts/**/*.test.ts', 'bench/**/*.test.ts'],
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'system',
          include: ['test/**/*.test.ts', 'guests/**/*.test.ts'],
          exclude: ['test/guests/**'],
          testTimeout: 600_000,
          hookTimeout: 600_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'guests',
          include: ['test/guests/**/*.test.ts'],
          maxWorkers: 1,
          // Longer than any wait of test/guests/guest-session.ts: those say what was missing.
          testTimeout: 400_000,
          hookTimeout: 400_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
