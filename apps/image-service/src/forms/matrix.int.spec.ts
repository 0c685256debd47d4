import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { glanceFormat, type ImageFormat, ms } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ImageInspector } from '../formats/index.js';
import { mutated, seeded } from '../formats/mutations.js';
import { ovf, tarImage } from '../formats/vectors.js';
import { type ImageRow, imagesTable } from '../image/image.projection.js';
import { Sandbox } from '../sandbox/sandbox.js';
import { FileImageStore } from '../store/index.js';
import { type ImageCloud, startImageCloud } from '../testing/image-cloud.js';

const hasTool = spawnSync('qemu-img', ['--version']).status === 0;
const TOOLS = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
const hasMke2fs = spawnSync('mke2fs', ['-V'], { env: TOOLS }).status === 0;
const MIB = 1024 * 1024;
const FORMS: readonly ImageFormat[] = [
  ...(['raw', 'qcow2', 'vhd', 'vhd-fixed', 'vhdx', 'vmdk', 'vmdk-sparse', 'vdi', 'ova', 'ami'] as const),
];
/** How qemu-img, an independent reader, is told to make and to read each form. */
const TOOL: { readonly [F in ImageFormat]?: readonly [driver: string, options?: string] } = {
  raw: ['raw'],
  ami: ['raw'],
  qcow2: ['qcow2'],
  vhd: ['vpc', 'force_size=on'],
  'vhd-fixed': ['vpc', 'subformat=fixed,force_size=on'],
  vhdx: ['vhdx'],
  vmdk: ['vmdk', 'subformat=streamOptimized'],
  'vmdk-sparse': ['vmdk', 'subformat=monolithicSparse'],
  vdi: ['vdi'],
};
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

/** A qcow2 whose every cluster is the same one. */
const repeated = (virtualSize: number): Buffer => {
  const cluster = 64 * 1024;
  const tables = virtualSize / cluster / (cluster / 8);
  const bytes = Buffer.alloc(5 * cluster);
  bytes.write('QFI\xfb', 0, 'latin1');
  bytes.writeUInt32BE(2, 4);
  bytes.writeUInt32BE(16, 20);
  bytes.writeBigUInt64BE(BigInt(virtualSize), 24);
  bytes.writeUInt32BE(tables, 36);
  bytes.writeBigUInt64BE(BigInt(2 * cluster), 40);
  bytes.writeBigUInt64BE(BigInt(cluster), 48);
  bytes.writeUInt32BE(1, 56);
  const entry = (at: number) => (1n << 63n) | BigInt(at * cluster);
  for (let i = 0; i < tables; i++) bytes.writeBigUInt64BE(entry(3), 2 * cluster + i * 8);
  for (let i = 0; i < cluster; i += 8) bytes.writeBigUInt64BE(entry(4), 3 * cluster + i);
  bytes.fill(7, 4 * cluster);
  return bytes;
};

describe.skipIf(!hasTool)('the forms of an image', () => {
  let folder = '';
  let cloud: ImageCloud;
  let disk: Buffer;
  const path = (name: string) => join(folder, name);
  const qemuImg = (...args: string[]) => execFileSync('qemu-img', args);

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'image-forms-'));
    await mkdir(path('store'));
    cloud = await startImageCloud({ store: await FileImageStore.open(path('store')), sandbox: Sandbox.detect() });
    // Data, a hole, data again, and a tail of zeros: what sparse formats treat in different ways.
    disk = Buffer.alloc(3 * MIB);
    const random = seeded(7);
    for (let i = 0; i < MIB / 2; i += 4) disk.writeUInt32LE(random(2 ** 32), i + (i > MIB / 4 ? 2 * MIB : 0));
    await writeFile(path('disk.raw'), disk);
  });
  afterAll(async () => {
    await cloud?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /** The disk in a form, as another tool makes it. */
  const made = async (form: ImageFormat): Promise<Buffer> => {
    if (form === 'ova') return tarImage(['vm.ovf', ovf('disk.vmdk')], ['disk.vmdk', await made('vmdk')]);
    const [driver, options] = TOOL[form]!;
    qemuImg('convert', '-f', 'raw', '-O', driver, ...(options ? ['-o', options] : []), path('disk.raw'), path('made'));
    return readFile(path('made'));
  };
  /** Null when it is refused. */
  const tried = async (bytes: Buffer, form: ImageFormat) => {
    const { disk: disk_format, container: container_format } = glanceFormat(form);
    const headers = { 'x-auth-token': 'p1' };
    const { fastify } = cloud.app;
    const created = await fastify.inject({
      ...{ method: 'POST', url: '/image/v2/images', headers: { ...headers, 'content-type': 'application/json' } },
      payload: JSON.stringify({ disk_format, container_format }),
    });
    const { id } = created.json();
    const put = await fastify.inject({
      ...{ method: 'PUT', url: `/image/v2/images/${id}/file`, payload: bytes },
      headers: { ...headers, 'content-type': 'application/octet-stream' },
    });
    if (put.statusCode === 415) return null;
    expect(put.statusCode, put.body).toBe(204);
    return (await (await cloud.core.fresh()).get(imagesTable, id))!;
  };
  const upload = async (bytes: Buffer, form: ImageFormat): Promise<ImageRow> => (await tried(bytes, form))!;
  const fetched = async (row: ImageRow, form: ImageFormat): Promise<Buffer> => {
    const ready = await cloud.forms.ready(row, form, ms(60_000));
    const bytes = await buffer(await cloud.forms.read(ready!));
    expect([bytes.length, sha256(bytes)]).toEqual([ready!.size, ready!.sha256]);
    return bytes;
  };
  /** What a guest would see, as another tool reads it. */
  const guestBytes = async (bytes: Buffer, form: ImageFormat): Promise<Buffer> => {
    if (form === 'ova') {
      await writeFile(path('out.ova'), bytes);
      const [name] = execFileSync('tar', ['-tf', path('out.ova')], { encoding: 'utf8' }).match(/\S+\.vmdk/)!;
      return guestBytes(execFileSync('tar', ['-xOf', path('out.ova'), name], { maxBuffer: 64 * MIB }), 'vmdk');
    }
    if (form === 'raw' || form === 'ami') return bytes;
    await writeFile(path('out'), bytes);
    qemuImg('convert', '-f', TOOL[form]![0], '-O', 'raw', path('out'), path('out.raw'));
    return readFile(path('out.raw'));
  };

  it.each(FORMS)('from %s hold the same disk in every other form, and pass our own inspection', async (from) => {
    const row = await upload(await made(from), from);
    expect(row).toMatchObject({ format: from, virtualSize: disk.length });
    for (const to of FORMS) {
      const bytes = await fetched(row, to);
      expect(sha256(await guestBytes(bytes, to)), `${from} to ${to}`).toBe(sha256(disk));
      const { disk: disk_format, container } = glanceFormat(to);
      const inspector = new ImageInspector(disk_format, container);
      inspector.feed(bytes);
      expect(inspector.end()).toMatchObject({ refusal: null, form: to, virtualSize: disk.length });
    }
  });

  describe.skipIf(!hasMke2fs)('of a guest', () => {
    const kernel = Buffer.alloc(8_192, 5);
    kernel.write('HdrS', 0x202, 'latin1');
    const ramDisk = Buffer.alloc(100_001, 'an initial RAM disk ');
    beforeAll(async () => {
      await mkdir(path('guest/boot'), { recursive: true });
      await writeFile(path('guest/boot/vmlinuz-6.1.0'), kernel);
      await writeFile(path('guest/boot/initrd.img-6.1.0'), ramDisk);
      await rm(path('disk.raw'));
      execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-d', path('guest'), path('disk.raw'), '8M'], { env: TOOLS });
    });
    afterAll(() => writeFile(path('disk.raw'), disk));
    it.each(FORMS)('from %s are its kernel and its initial RAM disk, byte by byte', async (from) => {
      const row = await upload(await made(from), from);
      expect((await fetched(row, 'aki')).equals(kernel)).toBe(true);
      expect((await fetched(row, 'ari')).equals(ramDisk)).toBe(true);
    });
  });

  it('are made once, however many ask at the same time, and kept', async () => {
    const row = await upload(disk, 'raw');
    const all = await Promise.all(Array.from({ length: 8 }, () => cloud.forms.ready(row, 'vhdx', ms(60_000))));
    expect(new Set(all.map((f) => f!.sha256)).size).toBe(1);
    const events = await cloud.log.readStream(`image-${row.id}`);
    expect(events.filter((e) => e.type === 'ImageDerivationStarted')).toHaveLength(1);
  });

  it('that are put together from others take no room', async () => {
    const row = await upload(disk, 'raw');
    const before = await readdir(path('store/blobs'), { recursive: true });
    await fetched(row, 'vhd-fixed');
    await fetched(row, 'ami');
    expect(await readdir(path('store/blobs'), { recursive: true })).toEqual(before);
  });

  it('pad the disk of a fixed VHD to whole mebibytes, and nothing else', async () => {
    const odd = disk.subarray(0, 2 * MIB + 512 * 3);
    const bytes = await fetched(await upload(odd, 'raw'), 'vhd-fixed');
    expect(bytes.length).toBe(3 * MIB + 512);
    expect(bytes.subarray(0, odd.length).equals(odd)).toBe(true);
    expect(bytes.subarray(odd.length, 3 * MIB).every((b) => b === 0)).toBe(true);
    await writeFile(path('azure.vhd'), bytes);
    const info = JSON.parse(qemuImg('info', '--output=json', '-f', 'vpc', path('azure.vhd')).toString());
    expect(info['virtual-size']).toBe(3 * MIB);
  });

  it('pad one that was uploaded, too', async () => {
    await writeFile(path('disk.raw'), disk.subarray(0, 2 * MIB + 512 * 3));
    const odd = await made('vhd-fixed').finally(() => writeFile(path('disk.raw'), disk));
    expect(odd.length).toBe(2 * MIB + 512 * 4);
    const row = await upload(odd, 'vhd-fixed');
    expect((await cloud.forms.known(row)).map((form) => form.format)).toEqual([]);
    const bytes = await fetched(row, 'vhd-fixed');
    expect(bytes.length).toBe(3 * MIB + 512);
    expect((await guestBytes(bytes, 'vhd-fixed')).subarray(0, 2 * MIB + 512 * 3).equals(odd.subarray(0, -512))).toBe(
      true,
    );
    const { fastify } = cloud.app;
    const original = await fastify.inject({
      url: `/image/v2/images/${row.id}/file`,
      headers: { 'x-auth-token': 'p1' },
    });
    expect(original.rawPayload.equals(odd)).toBe(true);
    expect((await fetched(row, 'raw')).equals(odd.subarray(0, -512))).toBe(true);
  });

  it('give any stretch of their bytes', async () => {
    const row = await upload(disk, 'raw');
    for (const form of ['vhd-fixed', 'ova', 'qcow2'] as const) {
      const ready = (await cloud.forms.ready(row, form, ms(60_000)))!;
      const whole = await buffer(await cloud.forms.read(ready));
      const random = seeded(3);
      for (let i = 0; i < 20; i++) {
        const start = random(whole.length);
        const end = Math.min(whole.length - 1, start + random(MIB));
        expect(
          (await buffer(await cloud.forms.read(ready, { start, end }))).equals(whole.subarray(start, end + 1)),
        ).toBe(true);
      }
    }
  });

  it('are not made of an OVA whose disk was cut off', async () => {
    const vmdk = await made('vmdk');
    const ova = (bytes: Buffer) => tarImage(['vm.ovf', ovf('disk.vmdk')], ['disk.vmdk', bytes]);
    expect(await tried(ova(vmdk), 'ova')).not.toBeNull();
    expect(await tried(ova(vmdk.subarray(0, -512)), 'ova')).toBeNull();
  });

  it('that cannot be are refused with the reason', async () => {
    const iso = await upload(
      Buffer.concat([Buffer.alloc(32 * 1024), Buffer.from('\x01CD001'), Buffer.alloc(4096)]),
      'iso',
    );
    await expect(cloud.forms.ready(iso, 'vhd', ms(0))).rejects.toMatchObject({ kind: 'unsupported' });
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path('huge'), '3T']);
    const huge = await upload(await readFile(path('huge')), 'qcow2');
    await expect(cloud.forms.ready(huge, 'vhd', ms(0))).rejects.toThrow(/holds 2040 GiB at most/);
    await expect(cloud.forms.ready(huge, 'raw', ms(0))).rejects.toThrow(/too large/);
  });

  it('of a small image that claims to be full of data are refused when there is no room for that', async () => {
    const row = await upload(repeated(3 * 1024 * MIB), 'qcow2');
    expect(row.size).toBeLessThan(512 * 1024);
    const before = await cloud.store.free();
    await expect(cloud.forms.ready(row, 'raw', ms(60_000))).rejects.toThrow(/too large to be converted/);
    expect(before - (await cloud.store.free())).toBeLessThan(256 * MIB);
  });

  it('of a damaged image fail within bounds, say so, and leave nothing', async () => {
    const good = await made('qcow2');
    const random = seeded(11);
    let judged = 0;
    for (let round = 0; round < 30 && judged < 4; round++) {
      const bytes = mutated(good, good, random);
      const inspector = new ImageInspector('qcow2', 'bare');
      inspector.feed(bytes);
      const verdict = inspector.end();
      if (verdict.refusal !== null || (verdict.virtualSize ?? 0) > 1024 * MIB) continue;
      const row = await tried(bytes, 'qcow2');
      if (!row) continue;
      judged++;
      await cloud.forms.ready(row, 'raw', ms(60_000)).then(
        (form) => expect(form!.size).toBe(row.virtualSize),
        (error) => expect(error).toMatchObject({ kind: 'conflict' }),
      );
    }
    expect(judged).toBeGreaterThan(1);
    expect(await readdir(path('store/incoming'))).toEqual([]);
  });

  it('are dropped when they are old or too many, least recently used first, and the original never', async () => {
    const row = await upload(disk, 'raw');
    for (const form of ['qcow2', 'vhdx', 'vdi', 'ova'] as const) await cloud.forms.ready(row, form, ms(60_000));
    const known = async () => (await cloud.forms.known(row)).map((f) => f.format).sort();
    expect(await known()).toEqual(['ova', 'qcow2', 'raw', 'vdi', 'vhdx', 'vmdk']);
    const { FormRoom } = await import('./form-room.js');
    const { ImageContext } = await import('../core.js');
    const collector = (formsCapacity: number, formsMaxAge: number) =>
      new FormRoom(new ImageContext(cloud.core, cloud.store, { formsCapacity, formsMaxAge } as never));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const used = (await cloud.forms.ready(row, 'qcow2', ms(0)))!;
    (await cloud.forms.read(used)).destroy();
    await collector(used.size, 86_400_000).collect(1);
    expect(await known()).toEqual(['qcow2', 'raw']);
    await collector(1024 * MIB, 0).collect();
    expect(await known()).toEqual(['raw']);
    expect(sha256(await fetched(row, 'raw'))).toBe(sha256(disk));
  });
});
