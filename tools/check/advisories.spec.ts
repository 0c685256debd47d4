import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const file = (path: string) => new URL(`../../${path}`, import.meta.url);
const rows = readFileSync(file('docs/security/advisories.md'), 'utf8')
  .split('\n')
  .filter((line) => /^\| OSS[AN]-/.test(line))
  .map((line) => {
    const [, id = '', , here = '', tests = ''] = line.split('|').map((cell) => cell.trim());
    return { id, here, tests: [...tests.matchAll(/`([^`]+)`/g)].map((match) => match[1]!) };
  });

describe('the table of advisories', () => {
  it('has each of them once, in order', () => {
    const ids = rows.map((row) => row.id);
    expect(ids).toEqual([...new Set(ids)].sort());
    expect(ids.length).toBeGreaterThan(40);
  });

  it.each(rows.map((row) => [row.id, row] as const))('%s has tests of its name, or says why it has none', (id, row) => {
    expect(row.tests.length === 0).toBe(/^not ours/.test(row.here));
    for (const path of row.tests) {
      expect(existsSync(file(path)), path).toBe(true);
      const names = readFileSync(file(path), 'utf8').match(/['"`]OSS[AN]-[^\n]*/g) ?? [];
      expect(
        names.some((name) => name.includes(id)),
        `${id} in ${path}`,
      ).toBe(true);
    }
  });
});
