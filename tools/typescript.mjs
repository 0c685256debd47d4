import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { installDependencies } from './start/dependencies.mjs';
import { ROOT } from './start/options.mjs';

/** Our .mjs files need no bundling, and find others by where they lie themselves. */
const asItLies = {
  name: 'as-it-lies',
  enforce: 'pre',
  resolveId: (source, importer) =>
    importer && /^\..*\.mjs$/.test(source)
      ? { id: pathToFileURL(resolve(dirname(importer), source)).href, external: true }
      : null,
};

/** Bundles a program of ours that has no build of its own, with what it imports from source, and runs it. @param {string} path below the root @returns what it exports */
export const runTypeScript = async (path) => {
  await installDependencies(ROOT);
  const { build, loadConfigFromFile } = await import('vite');
  const cache = join(ROOT, 'node_modules/.cache/omnivisor');
  mkdirSync(cache, { recursive: true });
  const outDir = mkdtempSync(join(cache, 'program-'));
  process.once('exit', () => rmSync(outDir, { recursive: true, force: true }));
  const specs = await loadConfigFromFile({ command: 'build', mode: 'production' }, join(ROOT, 'vitest.config.ts'));
  await build({
    configFile: false,
    root: ROOT,
    logLevel: 'warn',
    plugins: [asItLies],
    resolve: specs.config.resolve,
    build: {
      ssr: join(ROOT, path),
      outDir,
      minify: false,
      sourcemap: 'inline',
      target: 'node20',
    },
  });
  return import(pathToFileURL(join(outDir, `${basename(path, '.ts')}.js`)).href);
};
