import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { sendImage } from './send-image.js';

const never = new AbortController().signal;
const megabytes = (n: number) => Readable.from(Array.from({ length: n }, () => Buffer.alloc(1024 * 1024)));

describe('sending a disk', () => {
  let server: Server | undefined;
  afterEach(() => void server?.close());
  const listen = async (answer: (size: number) => number | null, early = false): Promise<string> => {
    server = createServer((request, response) => {
      let size = 0;
      const end = () => {
        const status = answer(size);
        if (status === null) request.socket.destroy();
        else response.writeHead(status, early ? { connection: 'close' } : {}).end();
      };
      if (early) return end();
      request.on('data', (chunk: Buffer) => {
        size += chunk.length;
      });
      request.on('end', end);
    });
    await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/image`;
  };

  it('sends all of it', async () => {
    let got = 0;
    const url = await listen((size) => {
      got = size;
      return 204;
    });
    await sendImage(url, megabytes(5), never);
    expect(got).toBe(5 * 1024 * 1024);
  });

  it.each([
    [404, 'notFound'],
    [413, 'tooLarge'],
    [415, 'unsupportedMedia'],
    [403, 'unavailable'],
    [409, 'unavailable'],
    [503, 'unavailable'],
  ])('takes %i for %s', async (status, kind) => {
    const url = await listen(() => status);
    await expect(sendImage(url, megabytes(1), never)).rejects.toMatchObject({ kind });
  });

  it('hears an answer that comes before it has sent all', async () => {
    const url = await listen(() => 413, true);
    await expect(sendImage(url, megabytes(20), never)).rejects.toMatchObject({
      kind: expect.stringMatching(/tooLarge|unavailable/),
    });
  });

  it('can try again later when the connection or the disk breaks, and ends with its work', async () => {
    const url = await listen(() => null);
    await expect(sendImage(url, megabytes(1), never)).rejects.toMatchObject({ kind: 'unavailable' });
    const broken = new Readable({ read() {} });
    broken.push('x');
    const sending = sendImage(url, broken, never);
    broken.destroy(new Error('the export broke'));
    await expect(sending).rejects.toMatchObject({ kind: 'unavailable' });
    const abort = new AbortController();
    const aborted = sendImage(url, new Readable({ read() {} }), abort.signal);
    abort.abort(new Error('given up'));
    await expect(aborted).rejects.toThrow('given up');
  });
});
