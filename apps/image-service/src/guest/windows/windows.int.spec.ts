import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { seeded } from '../../formats/mutations.js';
import { type NewKey, newHive } from '../../testing/hive-writer.js';
import { BoundedDisk, diskOf } from '../disk.js';
import { NtfsVolume } from '../fs/ntfs.js';
import { FileTree } from '../fs/volume.js';
import { inspectGuest } from '../inspect-guest.js';
import { readinessOf } from '../readiness.js';

const MIB = 1024 * 1024;
const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;
const FILL = fileURLToPath(new URL('../fs/fill-ntfs.py', import.meta.url));
const has = (tool: string) => spawnSync('sh', ['-c', `command -v ${tool}`], { env: { PATH } }).status === 0;
const complete = ['mkntfs', 'ntfscat', 'sfdisk', 'mkfs.vfat', 'mcopy', 'python3'].every(has);
const run = (command: string, args: string[], options: object = {}) =>
  execFileSync(command, args, { env: { ...process.env, PATH }, stdio: ['pipe', 'pipe', 'pipe'], ...options });

const service = (Start: number, ImagePath?: string): NewKey => ({
  values: { Type: 1, Start, ...(ImagePath === undefined ? {} : { ImagePath }) },
});
const SERVICES: NonNullable<NewKey['keys']> = {
  atapi: service(0, 'System32\\drivers\\atapi.sys'),
  intelide: service(0, 'System32\\drivers\\intelide.sys'),
  storahci: { ...service(0, 'System32\\drivers\\storahci.sys'), keys: { StartOverride: { values: { 0: 3 } } } },
  viostor: service(0, '\\SystemRoot\\System32\\drivers\\viostor.sys'),
  pvscsi: service(0, 'System32\\drivers\\pvscsi.sys'),
  vmxnet3ndis6: service(3),
  storvsc: service(4),
  Tcpip: service(1),
  'QEMU-GA': service(2, '"C:\\Program Files\\Qemu-ga\\qemu-ga.exe" -d'),
  VMTools: service(4),
};

describe.skipIf(!complete)('a look at a Windows', () => {
  let folder = '';
  let windows: Buffer = Buffer.alloc(0);
  const at = (...parts: string[]) => join(folder, ...parts);
  const put = (root: string, path: string, bytes: Buffer | string) => {
    mkdirSync(dirname(at(root, path)), { recursive: true });
    writeFileSync(at(root, path), bytes);
  };
  const ntfs = (root: string, size: string, ...options: string[]): Buffer => {
    writeFileSync(at('fs'), '');
    run('truncate', ['-s', size, at('fs')]);
    run('mkntfs', ['-q', '-F', ...options, at('fs')]);
    run('python3', [FILL, at('fs'), at(root)]);
    return readFileSync(at('fs'));
  };
  const partitioned = (label: 'gpt' | 'dos', ...parts: (readonly [type: string, bytes: Buffer])[]): Buffer => {
    writeFileSync(at('disk'), Buffer.alloc(parts.reduce((sum, [, b]) => sum + b.length, 2 * MIB)));
    const lines = parts.map(([type, bytes]) => `size=${bytes.length / 512},type=${type}`);
    run('sfdisk', ['-q', at('disk')], { input: `label: ${label}\n${lines.join('\n')}\n` });
    const disk = readFileSync(at('disk'));
    let offset = MIB;
    for (const [, bytes] of parts) offset += bytes.copy(disk, offset);
    return disk;
  };
  const treeOf = async (bytes: Buffer) =>
    new FileTree(await NtfsVolume.open(new BoundedDisk(diskOf(bytes), { bytes: 1024 * MIB, reads: 1_000_000 })));
  const look = (bytes: Buffer) => inspectGuest(diskOf(bytes));
  const fillWindows = (more: Readonly<Record<string, Buffer | string>> = {}) => {
    rmSync(at('root'), { recursive: true, force: true });
    const config = 'Windows/System32/config';
    const system = { Select: { values: { Current: 2 } }, ControlSet002: { keys: { Services: { keys: SERVICES } } } };
    put('root', `${config}/SYSTEM`, newHive({ keys: system }));
    const values = { ProductName: 'Windows 10 Pro', CurrentBuild: '22631' };
    const version = { Microsoft: { keys: { 'Windows NT': { keys: { CurrentVersion: { values } } } } } };
    put('root', `${config}/SOFTWARE`, newHive({ keys: version }));
    for (const driver of ['atapi', 'intelide', 'storahci', 'viostor', 'vmxnet3ndis6', 'storvsc', 'Tcpip'])
      put('root', `Windows/System32/drivers/${driver}.sys`, 'MZ');
    put('root', 'Windows/System32/DriverStore/FileRepository/netkvm.inf_amd64_1234/netkvm.sys', 'MZ');
    put('root', 'bootmgr', 'x');
    for (const [path, bytes] of Object.entries(more)) put('root', path, bytes);
  };
  const found = {
    ...{ distribution: null, kernel: null, windows: { product: 'Windows 11 Pro', build: '22631', left: 'clean' } },
    ...{ bootDrivers: ['atapi', 'intelide', 'storahci', 'viostor'], otherDrivers: ['netkvm', 'vmxnet3'] },
    ...{ agents: ['qemu-guest-agent'], unknown: null },
  };

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'windows-'));
    fillWindows();
    windows = ntfs('root', '16M');
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each([
    ['small clusters', ['-c', '512']],
    ['clusters of a page', ['-c', '4096']],
    ['clusters that are larger than a block of an index', ['-c', '65536']],
  ])(
    'reads what ntfscat reads in NTFS with %s',
    async (_, options) => {
      rmSync(at('many'), { recursive: true, force: true });
      const noise = Buffer.from(Array.from({ length: 900_000 }, (_, i) => (i * 7919) % 251));
      put('many', 'scattered/Pieces', noise);
      put('many', 'hole', '');
      truncateSync(at('many/hole'), 3 * MIB);
      writeFileSync(at('many/hole'), 'end', { flag: 'a' });
      put('many', 'compressed/zeros', Buffer.alloc(300_000));
      for (let i = 0; i < 700; i++) put('many', `Mañana/a rather long name of a file ${i}`, `file ${i}`);
      const tree = await treeOf(ntfs('many', '64M', ...options));
      expect((await tree.names('/MAÑANA')).sort()).toEqual(readdirSync(at('many/Mañana')).sort());
      for (const path of ['scattered/Pieces', 'hole', 'Mañana/a rather long name of a file 0']) {
        const theirs = run('ntfscat', ['-f', at('fs'), `/${path}`], { maxBuffer: 64 * MIB });
        expect((await tree.read(`/${path.toUpperCase()}`, 64 * MIB))?.equals(theirs), path).toBe(true);
      }
      for (const i of [0, 123, 456, 699])
        expect(await tree.text(`/mañana/A RATHER long name of a file ${i}`)).toBe(`file ${i}`);
      expect(await tree.exists('/Mañana/a rather long name of a file 700')).toBe(false);
      if (!options.includes('65536'))
        await expect(tree.read('/compressed/zeros', MIB)).rejects.toThrow(/compressed, which cannot be read/);
    },
    60_000,
  );

  it('finds the drivers that it starts with, those it has besides, its product and its agents', async () => {
    expect(await look(windows)).toEqual({ ...found, partitions: 'none', firmware: [], fileSystems: ['ntfs'] });
    const disk = partitioned('dos', ['7', windows]);
    expect((await look(disk)).firmware).toEqual([]);
    disk.fill(0x90, 0, 100);
    const guest = await look(disk);
    expect(guest).toMatchObject({ ...found, partitions: 'mbr', firmware: ['bios'] });
    expect(readinessOf(guest).qemu?.verdict).toBe('boots');
    expect(readinessOf(guest).vsphere?.verdict).toBe('cannot');
  });

  it('takes its loader on the EFI system partition for UEFI, and code before a GPT for nothing', async () => {
    rmSync(at('esp'), { force: true });
    run('truncate', ['-s', '36M', at('esp')]);
    run('mkfs.vfat', ['-F32', '-s1', at('esp')]);
    writeFileSync(at('loader'), 'MZ');
    run('mmd', ['-i', at('esp'), '::/EFI', '::/EFI/Microsoft', '::/EFI/Microsoft/Boot']);
    run('mcopy', ['-i', at('esp'), at('loader'), '::/EFI/Microsoft/Boot/bootmgfw.efi']);
    const disk = partitioned('gpt', ['U', readFileSync(at('esp'))], ['EBD0A0A2-B9E5-4433-87C0-68B6B72699C7', windows]);
    disk.fill(0x90, 0, 100);
    expect(await look(disk)).toMatchObject({ ...found, partitions: 'gpt', firmware: ['uefi'] });
  });

  it('says that it was hibernated, or not closed', async () => {
    fillWindows({ 'hiberfil.sys': Buffer.concat([Buffer.from('HIBR'), Buffer.alloc(5000)]) });
    expect((await look(ntfs('root', '16M'))).windows?.left).toBe('hibernated');
    const dirty = Buffer.from(windows);
    // The flags of $VOLUME_INFORMATION, behind the version 3.1.
    const record = dirty.readUIntLE(48, 6) * dirty[13]! * 512 + 3 * 1024;
    const version = dirty.subarray(record, record + 1024).indexOf(Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 3, 1]));
    dirty.writeUInt16LE(1, record + version + 10);
    expect((await look(dirty)).windows?.left).toBe('dirty');
  });

  it('says why it knows nothing, or not all, of one', async () => {
    fillWindows({ 'Windows/System32/config/SYSTEM': Buffer.alloc(8192, 1) });
    const guest = await look(ntfs('root', '16M'));
    expect(guest.unknown).toBe('its registry is damaged');
    expect(readinessOf(guest)).toEqual({});
    fillWindows({ 'Windows/System32/config/SOFTWARE': Buffer.alloc(8192, 1) });
    expect(await look(ntfs('root', '16M'))).toMatchObject({
      ...{ ...found, windows: { product: null, build: null, left: 'clean' }, unknown: 'its registry is damaged' },
    });
  });

  it('comes to an end on any disk that somebody tampered with, and foresees every error', async () => {
    const random = seeded(11);
    const used = [...windows.keys()].filter((i) => windows[i] !== 0 && windows[i] !== 0xff);
    const seen = new Set<string>();
    for (let round = 0; round < Number(process.env.OMNIVISOR_FUZZ_ROUNDS ?? 60); round++) {
      const bytes = Buffer.from(windows);
      for (let left = 1 + random(60); left > 0; left--)
        bytes[used[random(used.length)]!] = random(2) ? random(256) : 255;
      const guest = await look(random(8) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes);
      seen.add(guest.unknown ?? 'whole');
      readinessOf(guest);
      expect(JSON.stringify(guest).length).toBeLessThan(4_096);
    }
    expect(seen.size).toBeGreaterThan(2);
  }, 60_000);
});
