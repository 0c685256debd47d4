#!/usr/bin/env node
/**
 * npm run simulate -- [--seed N] [--seeds N] [--minutes N] [--teeth] [--nightly]: the whole control plane in one
 * process, hurt in every way that a seed chooses. Bundles tools/simulate/main.ts, which has no build of its own.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { installDependencies } from '../start/dependencies.mjs';
import { ROOT } from '../start/options.mjs';

await installDependencies(ROOT);
const { build, loadConfigFromFile } = await import('vite');
const cache = join(ROOT, 'node_modules/.cache/omnivisor');
mkdirSync(cache, { recursive: true });
const outDir = mkdtempSync(join(cache, 'simulate-'));
process.once('exit', () => rmSync(outDir, { recursive: true, force: true }));
const specs = await loadConfigFromFile({ command: 'build', mode: 'production' }, join(ROOT, 'vitest.config.ts'));
await build({
  configFile: false,
  root: ROOT,
  logLevel: 'warn',
  resolve: specs.config.resolve,
  build: { ssr: join(ROOT, 'tools/simulate/main.ts'), outDir, minify: false, sourcemap: 'inline', target: 'node20' },
});
await import(pathToFileURL(join(outDir, 'main.js')).href);
