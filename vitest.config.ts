import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const libs = fileURLToPath(new URL('./libs/', import.meta.url));

/** Specs run from source: `@omnivisor/<lib>` is that lib's `src`, so no build has to come first. */
export default defineConfig({
  resolve: {
    alias: [
      { find: /^@omnivisor\/([a-z-]+)$/, replacement: `${libs}$1/src/index.ts` },
      { find: /^@omnivisor\/([a-z-]+)\/([a-z-]+)$/, replacement: `${libs}$1/src/$2/index.ts` },
    ],
  },
  test: {
    environment: 'node',
    setupFiles: [fileURLToPath(new URL('./tools/test/fixed-seed.ts', import.meta.url))],
    include: ['{apps,libs,tools}/**/*.spec.ts'],
    exclude: ['**/node_modules/**', '**/dist/**'],
    maxWorkers: '100%',
    testTimeout: 20_000,
    hookTimeout: 120_000,
  },
});
