import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = new URL('../../', import.meta.url).pathname;
/** What runs in a cloud: sources of services, agents and the command line, without their specs. */
const sources = ['apps', 'libs', 'deploy', 'tools/start', 'tools/services'].flatMap((top) =>
  readdirSync(join(root, top), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(?:ts|mjs)$/.test(entry.name) && !/\.(?:spec|d)\.ts$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => !/\/(?:node_modules|dist|testing)\//.test(file))
    .map((file) => ({ file: file.slice(root.length), text: readFileSync(file, 'utf8') })),
);
const linesWith = (pattern: RegExp) =>
  sources.flatMap(({ file, text }) =>
    [...text.matchAll(pattern)].map((match) => `${file}: ${match[0].replace(/\s+/g, ' ').slice(0, 160)}`),
  );

describe('our sources', () => {
  it('are there', () => expect(sources.length).toBeGreaterThan(400));

  it('OSSA-2020-007 OSSA-2026-003 OSSA-2026-012 execute no text of anybody', () =>
    expect(linesWith(/\beval\(|\bnew Function\(|\bFunction\(|from '(?:node:)?vm'/g)).toEqual([]));

  it('OSSA-2026-008 start programs by their arguments, never by a line for a shell', () =>
    expect(
      linesWith(
        /\bshell: true\b|import \{[^}]{0,200}\b(?:exec|execSync)\b[^}]{0,200}\} from '(?:node:)?child_process'/g,
      ),
    ).toEqual([]));

  it('OSSA-2024-003 OSSA-2026-002 leave no image tool to guess what it reads', () => {
    const calls = linesWith(/\b(?:run|command|spawn)\([^;'[]{0,80}'qemu-img',[^;]{0,400};/g);
    expect(calls.length).toBeGreaterThan(8);
    const named = /'-f'|sourceName\(|nameAlone\(|'--version'|args\(paths\)/;
    expect(calls.filter((call) => !named.test(call))).toEqual([]);
  });
});
