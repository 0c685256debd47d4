import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ImageInspector } from './inspector.js';
import { mutated, seeded } from './mutations.js';
import * as vectors from './vectors.js';

const PACKAGES = ['oslo.utils==10.2.0', 'cryptography'];
const ROUNDS = Number(process.env.OMNIVISOR_FUZZ_ROUNDS ?? 1_500);
/** `OMNIVISOR_FUZZ_SEED=random`, or a number, takes another path. */
const asked = process.env.OMNIVISOR_FUZZ_SEED ?? '2026';
const SEED = asked === 'random' ? Math.floor(Math.random() * 2 ** 32) : Number(asked);
const folderOf = () => join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'omnivisor', 'oslo-utils-10.2.0');

/** Python with oslo.utils in an environment of its own; why there is none, as a text. */
const oracle = (): { python: string } | string => {
  const folder = folderOf();
  const python = join(folder, 'bin', 'python');
  const works = () => spawnSync(python, ['-c', 'import oslo_utils.imageutils.format_inspector']).status === 0;
  if (existsSync(python) && works()) return { python };
  mkdirSync(join(folder, '..'), { recursive: true });
  rmSync(folder, { recursive: true, force: true });
  const made = spawnSync('python3', ['-m', 'venv', folder], { encoding: 'utf8' });
  if (made.status !== 0) return `no Python environment: ${made.stderr ?? made.error?.message}`;
  const installed = spawnSync(python, ['-m', 'pip', 'install', '-q', ...PACKAGES], { encoding: 'utf8' });
  return works() ? { python } : `oslo.utils cannot be installed: ${(installed.stderr ?? '').trim().slice(-300)}`;
};

const verdict = (bytes: Buffer, disk: string) => {
  const inspector = disk === 'ova' ? new ImageInspector('vmdk', 'ova') : new ImageInspector(disk, 'bare');
  return inspector.feed(bytes) ?? inspector.end().refusal;
};

describe('against oslo.utils, an independent judge', () => {
  const found = oracle();
  const python = typeof found === 'string' ? undefined : found.python;
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'oslo-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** What the judge says of each image. */
  const judge = (images: readonly (readonly [bytes: Buffer, disk: string])[]): string[] => {
    const lines = images.map(([bytes, disk], i) => {
      const path = join(folder, `${i}`);
      writeFileSync(path, bytes);
      return `${path} ${disk}`;
    });
    const script = fileURLToPath(new URL('./oslo-oracle.py', import.meta.url));
    const said = execFileSync(python!, [script], { input: `${lines.join('\n')}\n`, encoding: 'utf8' });
    return said.trim().split('\n');
  };
  const made = (...args: string[]): Buffer => {
    const path = join(folder, 'made');
    rmSync(path, { force: true });
    execFileSync('qemu-img', ['create', '-q', ...args.slice(0, -1), path, args.at(-1)!]);
    return readFileSync(path);
  };

  it.skipIf(!python)(
    `no image is accepted that it refuses (seed ${SEED}, ${ROUNDS} rounds)`,
    () => {
      const tool = spawnSync('qemu-img', ['--version']).status === 0;
      const real: [string, Buffer][] = tool
        ? [
            ['qcow2', made('-f', 'qcow2', '2M')],
            ['vmdk', made('-f', 'vmdk', '-o', 'subformat=monolithicSparse', '2M')],
            ['vmdk', made('-f', 'vmdk', '-o', 'subformat=streamOptimized', '2M')],
            ['vhdx', made('-f', 'vhdx', '2M')],
            ['vhd', made('-f', 'vpc', '2M')],
            ['vdi', made('-f', 'vdi', '2M')],
          ]
        : [];
      const originals: readonly (readonly [string, Buffer])[] = [
        ...real,
        ['qcow2', vectors.qcow2Image()],
        ['vmdk', vectors.vmdkImage()],
        ['vmdk', vectors.vmdkImage({ footer: 'good' })],
        ['vhd', vectors.fixedVhd()],
        ['iso', vectors.isoImage()],
        ['raw', vectors.labelledImage()],
        ['raw', vectors.fatImage()],
        ['aki', vectors.labelledImage()],
        ['ova', vectors.ovaImage()],
        ['ova', vectors.ovaImage(vectors.vmdkImage())],
      ];
      const random = seeded(SEED);
      const declared = ['raw', 'qcow2', 'vmdk', 'vhd', 'vhdx', 'vdi', 'iso', 'aki', 'ami'];
      const images: [Buffer, string][] = originals.map(([disk, bytes]) => [bytes, disk]);
      for (let round = 0; round < ROUNDS; round++) {
        const [disk, bytes] = originals[random(originals.length)]!;
        const image = mutated(bytes.subarray(0, 3 * 1024 ** 2), originals[random(originals.length)]![1], random);
        // The judge keeps more of a stream than it needs; small files keep this quick.
        images.push([image, random(3) === 0 ? declared[random(declared.length)]! : disk]);
      }
      const accepted = images.filter(([bytes, disk]) => verdict(bytes, disk) === null);
      const said = judge(accepted);
      const differing = said.flatMap((words, i) => (words === 'ok' ? [] : [`${accepted[i]![1]}: ${words}`]));
      expect([...new Set(differing)]).toEqual([]);
      expect(accepted.length).toBeGreaterThan(100);
      expect(accepted.filter(([, disk]) => disk === 'ova').length).toBeGreaterThan(2);
    },
    120_000,
  );

  it.runIf(!python)(`is skipped: ${typeof found === 'string' ? found : ''}`, (context) => context.skip());
});
