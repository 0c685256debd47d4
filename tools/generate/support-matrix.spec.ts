import { readFileSync } from 'node:fs';
import { features } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { basics, committedResults, elsewhere, parts, supportMatrix } from './support-matrix.mjs';

const proofs = Object.fromEntries(
  Object.keys({ ...basics, pausing: null }).map((name) => [name, { level: 'L1', passed: ['does it'], skipped: {} }]),
);
const results = { backend: 'xen', command: 'npm test', proofs };
const row = (text: string, title: string) => text.split('\n').find((line) => line.startsWith(`| ${title} |`));

describe('the support matrix', () => {
  it('is what the results say; after a change run tsc -b && node tools/generate/support-matrix.mjs', () => {
    const committed = readFileSync(new URL('../../docs/support-matrix.md', import.meta.url), 'utf8');
    expect(committed).toBe(supportMatrix(committedResults(), features));
  });

  it('claims what was shown, at the level at which it was shown', () => {
    const text = supportMatrix([results], features);
    expect(row(text, 'Pause and unpause')).toMatch(/\| L1, 1 \|$/);
    expect(row(text, 'Rescue and unrescue')).toMatch(/\| — \|$/);
    expect(text).toContain('No results: qemu, xenserver, vsphere, hyperv, fake.');
  });

  it('says what the API does not lead to', () => {
    const disks = { level: 'L2', passed: ['a', 'b'], skipped: {} };
    const text = supportMatrix([{ ...results, proofs: { ...proofs, disks } }], features);
    expect(row(text, 'Attach and detach a disk')).toMatch(/\| L2, 2; API: 501 \|$/);
    expect(row(text, 'Grow an attached disk')).toMatch(/\| — \|$/);
  });

  it('says what a lab has shown with other sources than those of now', () => {
    const power = { level: 'L1', passed: ['a', 'b', 'c'], skipped: {} };
    const withLab = (kept: object, now = 'new') => ({
      ...{ ...results, proofs: { ...proofs, power } },
      lab: { level: 'L2', over: 'Xen', command: 'lab', now, proofs: { power: kept } },
    });
    const cellOf = (kept: object, now?: string) =>
      row(supportMatrix([withLab(kept, now)], features), 'Start, stop, reboot')!
        .split('|')
        .at(-2)!
        .trim();
    const fresh = { day: '2026-11-27', sources: 'new' };
    expect(cellOf({ a: fresh, b: fresh })).toBe('L1, 3; L2, 2');
    expect(cellOf({ a: fresh, b: { ...fresh, sources: 'old' } })).toBe('L1, 3; L2, 2 (1 older)');
    expect(cellOf({ a: '2026-11-26', b: fresh }, 'newer')).toBe('L1, 3; L2, 2 (older)');
    expect(supportMatrix([withLab({ a: '2026-11-26' })], features)).toContain(
      '- Start, stop, reboot: a (2026-11-26, older)',
    );
  });

  it('counts for a row of its own the behaviours that are about it', () => {
    const [behaviour = ''] = parts.quiesce.behaviours;
    const cellOf = (snapshots: object) =>
      row(supportMatrix([{ ...results, proofs: { ...proofs, snapshots } }], features), parts.quiesce.title);
    expect(cellOf({ level: 'L2', passed: ['another', behaviour], skipped: {} })).toMatch(/\| L2, 1 \|$/);
    expect(cellOf({ level: 'L2', passed: ['another'], skipped: { [behaviour]: 'a guest' } })).toMatch(
      /\| not tried \|$/,
    );
  });

  it.each(elsewhere)('points at tests that are there: $nova on $backend', ({ file, tests }) => {
    const text = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
    for (const test of tests) expect(text).toContain(`'${test}'`);
  });

  it('claims nothing that was skipped', () => {
    const skipped = { level: 'L2', passed: [], skipped: { 'keeps the memory': 'a guest' } };
    const text = supportMatrix([{ ...results, proofs: { ...proofs, pausing: skipped } }], features);
    expect(row(text, 'Pause and unpause')).toMatch(/\| not tried \|$/);
    expect(text).toContain('Not tried, for want of a guest:\n\n- Pause and unpause: keeps the memory');
  });
});
