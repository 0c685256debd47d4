import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sourcesHash } from '../generate/support-matrix.mjs';

/** What the support matrix is made of. @param {string} backend */
export const recordedOf = (backend) =>
  fileURLToPath(
    new URL(`../../apps/compute-agent/src/drivers/conformance/generated/lab/${backend}.json`, import.meta.url),
  );

/**
 * Keeps when each behaviour was last shown, and with which sources; one that was tried and has not passed is shown no more.
 * @param {string} file
 * @param {{ backend: string, level: string, command: string, over: string }} what `over`: what the suite ran over, in words
 * @param {(readonly [proof: string, behaviour: string, what: 'tried' | 'passed'])[]} lines
 */
export const record = (file, { backend, level, command, over }, lines) => {
  const { proofs = {} } = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  const now = { day: new Date().toISOString().slice(0, 10), sources: sourcesHash(backend) };
  for (const [proof, behaviour, what] of lines) {
    proofs[proof] ??= {};
    if (what === 'passed') proofs[proof][behaviour] = now;
    else delete proofs[proof][behaviour];
  }
  const shown = Object.entries(proofs)
    .filter(([, behaviours]) => Object.keys(behaviours).length > 0)
    .map(([proof, behaviours]) => [proof, Object.fromEntries(Object.entries(behaviours).sort())]);
  mkdirSync(dirname(file), { recursive: true });
  const results = { backend, level, command, over, proofs: Object.fromEntries(shown.sort()) };
  writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
};
