import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { NoConnection } from '../../common/trusted-socket.js';
import { HypervisorError } from '../../hypervisor-driver.js';
import type { Exchange } from './http.js';
import { textOf } from './http.js';
import { VimFault } from './vim-fault.js';
import type { VimSession } from './vim-session.js';

/** Bytes that are read past, at most, to come to the end of a file. */
const MOST_SKIPPED = 64 << 20;

/** `[datastore] folder/name` in its parts. */
export const datastorePath = (path: string): { readonly datastore: string; readonly path: string } => {
  const [, datastore, rest] = /^\[([^\]]+)\] ?(.*)$/.exec(path) ?? [];
  return { datastore: datastore ?? '', path: rest ?? '' };
};

/** Files of datastores, by HTTP beside the calls. */
export class DatastoreFiles {
  /** @param datacenter the names of the folders that lead to it, with slashes */
  constructor(
    private readonly session: VimSession,
    private readonly datacenter: string,
  ) {}

  /** @throws VimFault, NoConnection */
  async put(path: string, content: Buffer, signal?: AbortSignal): Promise<void> {
    const body = { stream: Readable.from([content]), length: content.length };
    const answer = await this.send({ method: 'PUT', path, body, signal });
    await textOf(answer, 1 << 16);
    if (!isGood(answer)) throw new VimFault('CannotCreateFile', `the datastore answered ${answer.statusCode}`);
  }

  async has(path: string): Promise<boolean> {
    const answer = await this.send({ method: 'HEAD', path });
    answer.resume();
    return isGood(answer);
  }

  /** Bytes of a file, no end of them when the datastore does not say; null when it is not there. */
  async sizeOf(path: string): Promise<number | null> {
    const answer = await this.send({ method: 'HEAD', path });
    answer.resume();
    if (answer.statusCode === 404) return null;
    if (!isGood(answer)) throw notGood(answer);
    return Number(answer.headers['content-length'] ?? Infinity);
  }

  /** Its last bytes; empty when it is not there. */
  async tail(path: string, most: number): Promise<Buffer> {
    const size = (await this.sizeOf(path)) ?? 0;
    const from = Math.max(0, size - most);
    if (size === 0) return Buffer.alloc(0);
    const answer = await this.send({ method: 'GET', path, headers: { range: `bytes=${from}-${size - 1}` } });
    // Who knows of no ranges sends all of it, however much that is.
    const before = answer.statusCode === 206 ? 0 : from;
    if (isGood(answer) && before <= MOST_SKIPPED) return slice(answer, before, size - from);
    answer.destroy();
    throw notGood(answer);
  }

  private send({
    path,
    headers,
    ...exchange
  }: Pick<Exchange, 'method' | 'path' | 'headers' | 'body' | 'signal'>): Promise<IncomingMessage> {
    const { datastore, path: file } = datastorePath(path);
    const query = new URLSearchParams({ dcPath: this.datacenter, dsName: datastore });
    const at = file.split('/').map(encodeURIComponent).join('/');
    return this.session.send({ ...exchange, path: `/folder/${at}?${query}` }, headers);
  }
}

/** Some bytes of an answer, and no more than these are kept. */
const slice = async (answer: IncomingMessage, before: number, length: number): Promise<Buffer> => {
  const parts: Buffer[] = [];
  let seen = 0;
  try {
    for await (const part of answer as AsyncIterable<Buffer>) {
      parts.push(part.subarray(Math.max(0, before - seen), Math.max(0, before + length - seen)));
      seen += part.length;
      if (seen >= before + length) break;
    }
  } catch (error) {
    throw new NoConnection((error as Error).message, { cause: error });
  }
  return Buffer.concat(parts);
};

const notGood = ({ statusCode }: IncomingMessage): HypervisorError =>
  new HypervisorError('unavailable', `the datastore gives no such part of the file: it answered ${statusCode}`);

const isGood = ({ statusCode = 0 }: IncomingMessage): boolean => statusCode >= 200 && statusCode < 300;
