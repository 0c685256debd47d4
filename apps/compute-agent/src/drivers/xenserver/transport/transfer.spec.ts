import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { TestPool } from '../../../../../../tools/doubles/xapi/testing/pool.js';
import { connectConsole, download, upload } from './transfer.js';
import { fromXapi } from './xapi-error.js';
import { XapiSession } from './xapi-session.js';

const MIB = 2 ** 20;
const never = new AbortController().signal;
let pool: TestPool;
let xapi: XapiSession;
beforeAll(async () => {
  pool = await TestPool.start({ addresses: ['127.0.0.1', '127.0.0.2'] });
  const trust = { kind: 'authorities', pem: null } as const;
  xapi = new XapiSession({ urls: [pool.double.url(0)], user: 'root', password: 'secret', trust, answerTimeout: 1_000 });
});
afterEach(() => pool.double.faults.clear());
afterAll(async () => {
  await xapi.close();
  await pool.stop();
});

const data = randomBytes(3 * MIB);
const body = (bytes = data) => ({
  stream: Readable.from([bytes.subarray(0, MIB), bytes.subarray(MIB)]),
  length: bytes.length,
});
const collect = async (stream: AsyncIterable<Buffer>) => {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
};
const local = async (member: number) => {
  const storage = await pool.call<string[]>('SR.get_by_name_label', 'Local storage');
  return pool.vdi(4 * MIB, 'NFS virtual disk storage', { SR: storage[member] });
};

describe('a disk', () => {
  it('goes up and comes down, also where another member keeps it', async () => {
    for (const vdi of [await pool.vdi(4 * MIB), await local(1)]) {
      await upload(xapi, vdi, 'raw', body(), never);
      const read = await collect(await download(xapi, vdi, 'raw', never));
      expect(read.subarray(0, data.length).equals(data)).toBe(true);
    }
    await expect.poll(() => xapi.call('task.get_all')).toEqual([]);
  });

  it('that the pool cannot write is the failure of its task', async () => {
    const vdi = await pool.vdi(2 * MIB);
    await expect(upload(xapi, vdi, 'raw', body(), never)).rejects.toThrow(/VDI_IO_ERROR/);
    await expect(upload(xapi, vdi, 'vhd', body(), never)).rejects.toThrow(/VDI_IO_ERROR/);
  });

  it('is given up when its signal aborts or its stream breaks', async () => {
    const vdi = await pool.vdi(4 * MIB);
    const abort = new AbortController();
    const endless = Readable.from(
      (async function* () {
        yield data.subarray(0, MIB);
        abort.abort();
        await new Promise((resolve) => setTimeout(resolve, 20));
        yield data.subarray(MIB);
      })(),
    );
    await expect(upload(xapi, vdi, 'raw', { stream: endless, length: data.length }, abort.signal)).rejects.toThrow();
    const broken = Readable.from(
      // biome-ignore lint/correctness/useYield: it breaks before the first byte.
      (async function* (): AsyncGenerator<Buffer> {
        throw new Error('the image is gone');
      })(),
    );
    await expect(upload(xapi, vdi, 'raw', { stream: broken, length: 5 }, never)).rejects.toThrow();
    await expect.poll(() => xapi.call('task.get_all')).toEqual([]);
  });

  it('that did not come whole is no disk', async () => {
    const vdi = await pool.vdi(4 * MIB);
    pool.double.faults.add({ method: 'GET /export_raw_vdi', error: ['VDI_IO_ERROR'] });
    await expect(download(xapi, vdi, 'raw', never).then(collect)).rejects.toThrow();
  });

  it('that is not there is refused', async () => {
    const error = await upload(xapi, 'OpaqueRef:none', 'raw', body(), never).catch((e: unknown) => e);
    expect(fromXapi(error, 'writing')).toMatchObject({ code: 'fault' });
  });
});

describe('a console', () => {
  it('is opened at the member that runs the guest, and refused elsewhere', async () => {
    const vm = await pool.vm({ HVM_boot_policy: '', PV_kernel: '/boot/guest/vmlinuz' });
    await pool.call('VM.start_on', vm, pool.double.host(1), false, false);
    const [, text] = await pool.call<string[]>('VM.get_consoles', vm);
    const stream = await connectConsole(xapi, await xapi.member('127.0.0.2'), text!);
    const [greeting] = await collectOne(stream);
    expect(greeting).toContain('a machine is up');
    stream.destroy();
    await expect(connectConsole(xapi, await xapi.member('127.0.0.1'), text!)).rejects.toThrow(
      'the console answered 500',
    );
  });
});

const collectOne = (stream: NodeJS.ReadableStream): Promise<string[]> =>
  new Promise((resolve) => stream.once('data', (chunk: Buffer) => resolve([chunk.toString()])));
