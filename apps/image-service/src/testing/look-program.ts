import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
let built: Promise<string> | undefined;

/** The program that looks into disks, bundled from source once for each process of specs, which have no build. */
export const lookProgram = (): Promise<string> => {
  built ??= bundle();
  return built;
};

const bundle = async (): Promise<string> => {
  const cache = join(ROOT, 'node_modules/.cache/omnivisor');
  mkdirSync(cache, { recursive: true });
  const outDir = mkdtempSync(join(cache, 'look-'));
  process.once('exit', () => rmSync(outDir, { recursive: true, force: true }));
  await build({
    ...{ configFile: false, root: ROOT, logLevel: 'warn' },
    build: { ssr: join(ROOT, 'apps/image-service/src/guest/look.ts'), outDir, minify: false, target: 'node20' },
  });
  return join(outDir, 'look.js');
};
