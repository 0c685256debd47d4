import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sourcesHash } from '../generate/support-matrix.mjs';

const FILE = fileURLToPath(
  new URL('../../apps/compute-agent/src/drivers/conformance/generated/lab/xen.json', import.meta.url),
);

/**
 * Keeps when each behaviour was last shown, and with which sources; one that was tried and has not passed is shown no more.
 * @param {[proof: string, behaviour: string, what: 'tried' | 'passed'][]} lines @param {string} version
 */
export const record = (lines, version) => {
  const { proofs = {} } = existsSync(FILE) ? JSON.parse(readFileSync(FILE, 'utf8')) : {};
  const now = { day: new Date().toISOString().slice(0, 10), sources: sourcesHash('xen') };
  for (const [proof, behaviour, what] of lines) {
    proofs[proof] ??= {};
    if (what === 'passed') proofs[proof][behaviour] = now;
    else delete proofs[proof][behaviour];
  }
  const shown = Object.entries(proofs)
    .filter(([, behaviours]) => Object.keys(behaviours).length > 0)
    .map(([proof, behaviours]) => [proof, Object.fromEntries(Object.entries(behaviours).sort())]);
  mkdirSync(dirname(FILE), { recursive: true });
  const results = {
    backend: 'xen',
    level: 'L2',
    command: 'npm run lab:xen',
    over: version,
    proofs: Object.fromEntries(shown.sort()),
  };
  writeFileSync(FILE, `${JSON.stringify(results, null, 2)}\n`);
};
