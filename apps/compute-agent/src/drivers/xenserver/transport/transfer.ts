import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import type { Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { URLSearchParams } from 'node:url';
import type { Endpoint } from '../../common/trusted-socket.js';
import { HypervisorError } from '../../hypervisor-driver.js';
import { XapiFault } from './xapi-error.js';
import { LONG_TASK_LIMIT, type XapiSession } from './xapi-session.js';

export type TransferFormat = 'vhd' | 'raw';

/** Milliseconds without a byte after which a transfer is given up. */
const SILENCE = 60_000;
const REDIRECTS = 3;

/** A request whose head has been answered; the body of a PUT has not been sent yet. */
interface Begun {
  readonly outgoing: ClientRequest;
  readonly answer: IncomingMessage;
}

const begin = async (
  xapi: XapiSession,
  method: 'GET' | 'PUT',
  path: string,
  length: number | null,
  signal: AbortSignal,
): Promise<Begun> => {
  let { master: at } = await xapi.location();
  let target = path;
  for (let hops = 0; hops <= REDIRECTS; hops++) {
    const { outgoing, answer } = await ask(xapi, at, method, target, length, signal);
    const { statusCode = 0, headers } = answer;
    if (statusCode === 200) return { outgoing, answer };
    outgoing.destroy();
    if (statusCode === 401) throw new XapiFault('SESSION_INVALID', ['transfer']);
    if (statusCode !== 302 || !headers.location) throw new Error(`the pool answered ${statusCode} to a transfer`);
    const { hostname, port, pathname, search } = new URL(headers.location);
    at = { ...at, host: hostname.replace(/^\[|\]$/g, ''), port: port ? Number(port) : at.port };
    target = pathname + search;
  }
  throw new Error('a transfer was sent from one member to the next without end');
};

/** XAPI answers the head of a request before it reads the body, and knows no chunks: so the length is said. */
const ask = async (
  xapi: XapiSession,
  at: Endpoint,
  method: string,
  path: string,
  length: number | null,
  signal: AbortSignal,
): Promise<Begun> => {
  const socket = await xapi.open(at);
  const outgoing = request({
    method,
    path,
    headers: { host: at.host, connection: 'close', ...(length === null ? {} : { 'content-length': length }) },
    createConnection: () => socket,
    signal,
    timeout: SILENCE,
  });
  outgoing.on('timeout', () => outgoing.destroy(new Error('no connection: the transfer has come to a halt')));
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.once('error', reject);
  });
  if (length === null) outgoing.end();
  else outgoing.flushHeaders();
  const answer = await answered;
  outgoing.on('error', () => undefined);
  return { outgoing, answer };
};

const pathTo = async (xapi: XapiSession, handler: string, vdi: string, format: TransferFormat, task: string) => {
  const { sessionId } = await xapi.location();
  return `${handler}?${new URLSearchParams({ vdi, format, session_id: sessionId, task_id: task })}`;
};

/**
 * Writes a disk from a stream of exactly `length` bytes. Whether it went well is what the pool's task says, not HTTP.
 * @throws XapiFault, or an error of the socket or the stream
 */
export const upload = async (
  xapi: XapiSession,
  vdi: string,
  format: TransferFormat,
  body: { readonly stream: Readable; readonly length: number },
  signal: AbortSignal,
): Promise<void> => {
  const task = await xapi.call<string>('task.create', 'omnivisor: import of a disk', '');
  try {
    const path = await pathTo(xapi, '/import_raw_vdi', vdi, format, task);
    const { outgoing, answer } = await begin(xapi, 'PUT', path, body.length, signal);
    answer.resume().on('error', () => undefined);
    const sent = pipeline(body.stream, outgoing).then(
      () => null,
      (error: Error) => error,
    );
    const failure = await sent;
    if (signal.aborted) throw new HypervisorError('fault', 'writing the disk was aborted');
    if (failure) await settledSoon(xapi, task, failure);
    else await xapi.attended(task, { signal, limit: LONG_TASK_LIMIT });
  } finally {
    body.stream.destroy();
    void xapi.call('task.destroy', task).catch(() => undefined);
  }
};

/** The pool has the last word; that the stream broke it notices a moment later. */
const settledSoon = async (xapi: XapiSession, task: string, failure: Error): Promise<never> => {
  try {
    await xapi.settled(task);
  } catch (error) {
    throw error instanceof XapiFault ? error : failure;
  }
  throw failure;
};

/**
 * Reads a disk. The stream fails when the pool says that it was not the whole disk.
 * @throws XapiFault, or an error of the socket
 */
export const download = async (
  xapi: XapiSession,
  vdi: string,
  format: TransferFormat,
  signal: AbortSignal,
): Promise<AsyncGenerator<Buffer>> => {
  const task = await xapi.call<string>('task.create', 'omnivisor: export of a disk', '');
  const forget = () => void xapi.call('task.destroy', task).catch(() => undefined);
  try {
    const path = await pathTo(xapi, '/export_raw_vdi', vdi, format, task);
    const { answer, outgoing } = await begin(xapi, 'GET', path, null, signal);
    return (async function* () {
      try {
        yield* answer as AsyncIterable<Buffer>;
        await xapi.attended(task, { signal, limit: LONG_TASK_LIMIT });
      } finally {
        outgoing.destroy();
        forget();
      }
    })();
  } catch (error) {
    forget();
    throw error;
  }
};

/**
 * A guest's console by CONNECT, from the member that runs it.
 * @throws Error when that member refuses it
 */
export const connectConsole = async (xapi: XapiSession, at: Endpoint, ref: string): Promise<Duplex> => {
  const { sessionId } = await xapi.location();
  const socket = await xapi.open(at);
  const query = new URLSearchParams({ ref, session_id: sessionId });
  socket.write(`CONNECT /console?${query} HTTP/1.0\r\nHost: ${at.host}\r\n\r\n`);
  try {
    const rest = await readHead(socket);
    if (rest.length > 0) socket.unshift(rest);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
};

/** @returns what came after the head of a good answer; the stream stays as it is for its next reader */
const readHead = (socket: Duplex): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    const timer = setTimeout(() => done(new Error('no connection: the console does not answer')), 10_000);
    const done = (result: Buffer | Error) => {
      clearTimeout(timer);
      socket.off('readable', read).off('error', done).off('close', ended);
      if (result instanceof Error) reject(result);
      else resolve(result);
    };
    const ended = () => done(new Error('no connection: the console was closed'));
    const read = () => {
      received = Buffer.concat([received, (socket.read() as Buffer | null) ?? Buffer.alloc(0)]);
      const end = received.indexOf('\r\n\r\n');
      if (end < 0 && received.length < 8192) return;
      const [, status] = /^HTTP\/1\.[01] (\d{3})/.exec(received.toString('latin1', 0, 20)) ?? [];
      done(status === '200' ? received.subarray(end + 4) : new Error(`no connection: the console answered ${status}`));
    };
    socket.on('readable', read).once('error', done).once('close', ended);
  });
