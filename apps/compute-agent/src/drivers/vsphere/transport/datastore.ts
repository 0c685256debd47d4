import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { NoConnection } from '../../common/trusted-socket.js';
import { HypervisorError } from '../../hypervisor-driver.js';
import type { Exchange } from './http.js';
import { textOf } from './http.js';
import { VimFault } from './vim-fault.js';
import type { VimSession } from './vim-session.js';

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

  /** Its last bytes; empty when it is not there. */
  async tail(path: string, most: number): Promise<Buffer> {
    const answer = await this.send({ method: 'GET', path, headers: { range: `bytes=-${most}` } });
    const parts: Buffer[] = [];
    try {
      for await (const part of answer as AsyncIterable<Buffer>) parts.push(part);
    } catch (error) {
      throw new NoConnection((error as Error).message, { cause: error });
    }
    // Of an empty file no range can be had.
    if (answer.statusCode === 404 || answer.statusCode === 416) return Buffer.alloc(0);
    if (!isGood(answer)) throw new HypervisorError('unavailable', `the datastore answered ${answer.statusCode}`);
    const all = Buffer.concat(parts);
    return all.subarray(Math.max(0, all.length - most));
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

const isGood = ({ statusCode = 0 }: IncomingMessage): boolean => statusCode >= 200 && statusCode < 300;
