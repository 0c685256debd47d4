import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { oneOf, parsed, whole } from './arguments.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const FOLDERS = ['tools', 'deploy/kubernetes'];
/** These pass on what they are called with. */
const PASSING = ['tools/start/omnivisor.mjs', 'tools/doubles/hyperv/powershell.mjs'];
const programs = FOLDERS.flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file)),
)
  .filter((file) => file.endsWith('.mjs') && !file.includes('node_modules'))
  .filter((file) => readFileSync(join(root, file), 'utf8').startsWith('#!') && !PASSING.includes(file))
  .sort();
const calls = [...programs, ...['backup', 'restore'].map((name) => `${PASSING[0]} ${name}`)];

/** A clone in which nothing has been installed or built. */
const clone = mkdtempSync(join(tmpdir(), 'clone-'));
for (const part of [...FOLDERS, 'deploy/roles.mjs'])
  cpSync(join(root, part), join(clone, part), { recursive: true, filter: (file) => !file.includes('/node_modules') });
afterAll(() => rmSync(clone, { recursive: true }));

const called = (...args: string[]): Promise<{ status: unknown; stdout: string; stderr: string }> =>
  new Promise((resolve) => {
    const env = { PATH: process.env.PATH, OMNIVISOR_HOME: join(clone, 'home') };
    const child = execFile(process.execPath, args, { cwd: clone, env, timeout: 15_000 }, (_, stdout, stderr) =>
      resolve({ status: child.exitCode, stdout, stderr }),
    );
  });

describe('a program of a new clone', () => {
  it.concurrent.each(calls)('says how it is called: %s', async (call) => {
    const args = call.split(' ');
    const help = await called(...args, '--help');
    expect(help).toMatchObject({ status: 0, stderr: '' });
    expect(help.stdout).toMatch(/^(npm|node|omnivisor) /);
    const wrong = await called(...args, '--nonsense');
    expect(wrong).toMatchObject({ status: 2, stdout: '' });
    const [why, ...usage] = wrong.stderr.split('\n');
    expect(why).toContain("'--nonsense'");
    expect(usage.join('\n')).toBe(`\n${help.stdout}`);
  });
  it.concurrent.each([
    [['tools/bench/bench.mjs', '--servers', 'many'], '--servers many: a whole number from 1 is needed'],
    [['tools/bench/million.mjs', '--only', 'all'], '--only all: one of rebuild, start, verify is needed'],
    [['tools/lab/xen.mjs', 'nowhere'], 'there is no area nowhere'],
    [['tools/verify/hyperv.mjs', '--serve', '192.0.2.1:80'], 'needed: --host'],
    [['tools/doubles/xapi/main.mjs'], 'needed: SETTINGS.json'],
    [['tools/verify-bundle.mjs', 'folder'], 'one FOLDER and a --key are needed'],
  ])('says what is wrong with %j', async (args, why) => {
    const { status, stderr } = await called(...args);
    expect([status, stderr.split('\n')[0]]).toEqual([2, expect.stringContaining(why)]);
    expect(stderr).not.toContain('at file://');
  });
});

describe('arguments', () => {
  const options = {
    count: { type: 'string', default: '7', read: whole(1, 2_000) },
    part: { type: 'string', multiple: true },
    kind: { type: 'string', required: true, read: oneOf('one', 'other') },
  };
  const given = (...args: string[]) => parsed({ args, options }).values;
  it('have the values that their options read', () => {
    expect(given('--kind', 'one')).toMatchObject({ count: 7, kind: 'one' });
    expect(given('--kind', 'other', '--count', '1e3', '--part', 'a')).toMatchObject({ count: 1_000, part: ['a'] });
  });
  it('are not looked at beside --help', () => expect(given('--help')).toMatchObject({ help: true }));
  it.each([
    [[], /^needed: --kind$/],
    [['--kind'], /^Option '--kind <value>' argument missing$/],
    [['--kind', '--part', 'a'], /^Option '--kind' argument is ambiguous. .+$/],
    [['--kind', 'third'], /^--kind third: one of one, other is needed$/],
    [['--kind', 'one', '--count', '2001'], /^--count 2001: a whole number from 1 to 2000 is needed$/],
    [['--kind', 'one', '--count', ''], /^--count : a whole number/],
    [['--kind', 'one', 'beside'], /^Unexpected argument 'beside'/],
  ])('of %j are refused in one line', (args, why) => expect(() => given(...args)).toThrow(why));
});
