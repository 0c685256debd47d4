import { readFileSync } from 'node:fs';
import { features } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { basics, currentResults, supportMatrix } from './support-matrix.mjs';

const proofs = Object.fromEntries(
  Object.keys({ ...basics, pausing: null }).map((name) => [name, { level: 'L1', passed: ['does it'], skipped: {} }]),
);
const results = { backend: 'xen', command: 'npm run lab:xen', sources: 'abc', proofs };
const row = (text: string, title: string) => text.split('\n').find((line) => line.startsWith(`| ${title} |`));

describe('the support matrix', () => {
  it('is what the results say; after a change run tsc -b && node tools/generate/support-matrix.mjs', () => {
    const committed = readFileSync(new URL('../../docs/support-matrix.md', import.meta.url), 'utf8');
    expect(committed).toBe(supportMatrix(currentResults(), features));
  });

  it('claims what was shown, at the level at which it was shown', () => {
    const text = supportMatrix([results], features);
    expect(row(text, 'Pause and unpause')).toMatch(/\| L1, 1 \|$/);
    expect(row(text, 'Rescue and unrescue')).toMatch(/\| — \|$/);
    expect(text).toContain('No results: qemu, xenserver, vsphere, hyperv, fake.');
  });

  it('claims nothing that was skipped', () => {
    const skipped = { level: 'L2', passed: [], skipped: { 'keeps the memory': 'a guest' } };
    const text = supportMatrix([{ ...results, proofs: { ...proofs, pausing: skipped } }], features);
    expect(row(text, 'Pause and unpause')).toMatch(/\| not tried \|$/);
    expect(text).toContain('Not tried, for want of a guest:\n\n- Pause and unpause: keeps the memory');
  });
});
