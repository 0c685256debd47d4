import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gib, mib, ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { which } from '../../../../../../tools/services/process.mjs';
import { fileSource } from '../../common/test-guest.js';
import { ephemeralOf, sourceOf, swapOf } from './disk-source.js';

const never = new AbortController().signal;
const mark = { cloudId: 'cloud', serverId: ServerId.parse(randomUUID()), attempt: 2, build: 0 };

describe.skipIf(!which('qemu-img'))('what disks are made from (needs qemu-img)', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'vsphere-disk-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const info = (file: string) =>
    JSON.parse(execFileSync('qemu-img', ['info', '--output=json', file], { encoding: 'utf8' }));
  const raw = (file: string) => {
    execFileSync('qemu-img', ['convert', '-O', 'raw', file, `${file}.raw`]);
    return `${file}.raw`;
  };
  const write = (name: string, content: Buffer) => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };

  it('becomes a stream with the same bytes', async () => {
    const content = Buffer.concat([Buffer.from('a disk'), Buffer.alloc(2 ** 20)], 2 ** 20);
    const { file, kib } = await (await sourceOf(fileSource(write('image.raw', content)), mark)).stream(folder, never);
    expect(info(file)['format-specific'].data['create-type']).toBe('streamOptimized');
    expect([kib, readFileSync(raw(file)).equals(content)]).toEqual([1024, true]);
  });

  it('goes as it is when it is a stream already', async () => {
    const vmdk = join(folder, 'stream-given.vmdk');
    const options = ['-o', 'subformat=streamOptimized'];
    execFileSync('qemu-img', [
      ...['convert', '-f', 'raw', '-O', 'vmdk'],
      ...options,
      write('b.raw', Buffer.alloc(4096)),
      vmdk,
    ]);
    expect(await (await sourceOf(fileSource(vmdk, 'vmdk'), mark)).stream(folder, never)).toEqual({
      file: vmdk,
      kib: 4,
    });
  });

  it('is refused when it is no such disk', async () => {
    await expect(sourceOf(fileSource('/x', 'qcow2'), mark)).rejects.toMatchObject({ code: 'unsupported' });
    const sparse = join(folder, 'sparse.vmdk');
    execFileSync('qemu-img', ['create', '-q', '-f', 'vmdk', '-o', 'subformat=monolithicSparse', sparse, '1M']);
    for (const path of [sparse, write('c.vmdk', Buffer.from('# Disk DescriptorFile'))]) {
      const source = await sourceOf(fileSource(path, 'vmdk'), mark);
      await expect(source.stream(folder, never)).rejects.toMatchObject({ code: 'fault' });
    }
  });

  it('is one image when its bytes are the same, and another when its format is', async () => {
    const paths = ['d1', 'd2'].map((name) => write(name, Buffer.from('same')));
    const keys = [];
    for (const path of paths) keys.push((await sourceOf(fileSource(path), mark)).key);
    expect(keys[0]).toBe(keys[1]);
    expect((await sourceOf(fileSource(paths[0]!, 'vmdk'), mark)).key).not.toBe(keys[0]);
  });

  it("is nobody else's when it is the disk of a server that moves here", async () => {
    const source = { ...fileSource(write('own', Buffer.from('same'))), isPrivate: true };
    const keys = [];
    for (const attempt of [2, 3]) keys.push((await sourceOf(source, { ...mark, attempt })).key);
    keys.push((await sourceOf({ ...source, isPrivate: false }, mark)).key);
    expect(new Set(keys).size).toBe(3);
    expect((await sourceOf(source, mark)).server).toBe(mark.serverId);
  });

  it('is a formatted disk where nothing else is given', async () => {
    const ephemeral = await ephemeralOf(gib(1)).stream(folder, never);
    expect([ephemeral.kib, info(ephemeral.file)['virtual-size']]).toEqual([2 ** 20, 2 ** 30]);
    expect(statSync(ephemeral.file).size).toBeLessThan(2 ** 20);
    const start = execFileSync('dd', [`if=${raw(ephemeral.file)}`, 'bs=4096', 'count=1', 'status=none']);
    expect([start.readUInt16LE(1024 + 56), start.toString('latin1', 1024 + 120, 1024 + 130)]).toEqual([
      0xef53,
      'ephemeral0',
    ]);
    const swap = await swapOf(mib(16)).stream(folder, never);
    expect(readFileSync(raw(swap.file)).toString('latin1', 4086, 4096)).toBe('SWAPSPACE2');
  });
});
