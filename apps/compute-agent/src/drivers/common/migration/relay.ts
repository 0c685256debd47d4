import { timingSafeEqual } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { HypervisorError } from '../../hypervisor-driver.js';
import { connectUnix, listenUnix } from '../unix-socket.js';

/**
 * The way of a guest from one agent to the other. What the hypervisor says goes to its agent only; the agents carry the
 * bytes, on one machine over a socket that only they can open, between machines over TLS with a key of this migration.
 *
 * Each connection begins with the line `<key> <channel>`: `memory`, `disk <name>`, or `control`.
 */
export interface Endpoints {
  /** Socket of the target, for a source on the same machine. */
  readonly socket: string;
  /** Where a source on another machine finds it. */
  readonly tcp: { readonly host: string; readonly port: number } | null;
}

/** TLS 1.2 with a shared key and fresh secrets: whoever learns the key later reads nothing of what was sent. */
const TLS = {
  ciphers: 'ECDHE-PSK-CHACHA20-POLY1305',
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.2',
} as const;
const IDENTITY = 'omnivisor';
const FIRST_LINE = 10_000;
const CONNECT_PATIENCE = 10_000;
/** Until a way on which nothing is said is asked whether its other end is there. */
const KEEP_ALIVE = 30_000;

/** Milliseconds that a way may carry nothing while there is something to carry: the other side is gone, or stands still. */
export const MIGRATION_SILENCE = 120_000;

/** Two streams that are joined, and for how long they may carry nothing. */
export interface Way {
  /** Milliseconds without a byte until both end; 0: any time. */
  setSilence(silence: number): void;
  /** From now on they may carry nothing once the second has answered what the first has said. */
  mayRest(): void;
}

/** Joins two streams; when one ends, so does the other. */
export const join = (a: Socket, b: Socket, silence = 0): Way => {
  let isAnswered = false;
  let mayRest = false;
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.on('error', () => to.destroy());
    from.on('close', () => to.destroy());
    from.on('data', () => {
      isAnswered = from === b;
    });
    from.on('timeout', () => {
      if (!(mayRest && isAnswered)) from.destroy();
    });
    from.pipe(to);
  }
  const setSilence = (time: number) => {
    for (const socket of [a, b]) socket.setTimeout(time);
  };
  setSilence(silence);
  a.resume();
  b.resume();
  return {
    setSilence,
    mayRest: () => {
      mayRest = true;
    },
  };
};

/** @returns the first line, and the stream with what comes after it */
const firstLine = (socket: Socket): Promise<string> =>
  new Promise((resolve, reject) => {
    let text = Buffer.alloc(0);
    const timer = setTimeout(() => done(() => reject(new Error('nothing was said'))), FIRST_LINE);
    const done = (settle: () => void) => {
      clearTimeout(timer);
      socket.off('readable', read);
      socket.off('close', closed);
      settle();
    };
    const closed = () => done(() => reject(new Error('the connection was closed')));
    // Byte by byte, so that what follows the line stays in the stream.
    const read = () => {
      for (let byte = socket.read(1); byte !== null; byte = socket.read(1)) {
        if (byte[0] === 10) return done(() => resolve(text.toString('latin1')));
        text = Buffer.concat([text, byte]);
        if (text.length > 200) return done(() => reject(new Error('the line is too long')));
      }
    };
    socket.on('readable', read);
    socket.on('close', closed);
  });

export type Handler = (channel: string, socket: Socket) => void | Promise<void>;

/** The target's end: takes connections that know the key, and gives each to its channel. */
export class IncomingRelay {
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly servers: readonly Server[],
    readonly endpoints: Endpoints,
  ) {}

  static async open(
    socket: string,
    key: string,
    address: string | undefined,
    handler: Handler,
  ): Promise<IncomingRelay> {
    const servers: Server[] = [];
    const take = (connection: Socket) => void relay.take(connection, key, handler);
    const local = createServer(take);
    await listenUnix(local, socket);
    servers.push(local);
    let tcp: Endpoints['tcp'] = null;
    if (address !== undefined) {
      const psk = Buffer.from(key, 'hex');
      const remote = createTlsServer({ ...TLS, pskCallback: () => psk }, take);
      await listen(remote, { host: address, port: 0 });
      servers.push(remote);
      tcp = { host: address, port: (remote.address() as { port: number }).port };
    }
    const relay = new IncomingRelay(servers, { socket, tcp });
    return relay;
  }

  close(): void {
    for (const server of this.servers) server.close();
    for (const socket of this.sockets) socket.destroy();
  }

  private async take(socket: Socket, key: string, handler: Handler): Promise<void> {
    this.sockets.add(socket);
    socket.setKeepAlive(true, KEEP_ALIVE);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.sockets.delete(socket));
    try {
      const [said = '', ...channel] = (await firstLine(socket)).split(' ');
      const [a, b] = [Buffer.from(said, 'latin1'), Buffer.from(key, 'latin1')];
      if (a.length !== b.length || !timingSafeEqual(a, b)) throw new Error('another key');
      await handler(channel.join(' '), socket);
    } catch {
      socket.destroy();
    }
  }
}

const listen = (server: Server, at: { host: string; port: number }): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(at, () => resolve());
  });

/** The source's end of one channel. @throws HypervisorError `unavailable` when the target cannot be reached */
export const dial = async (
  { socket, tcp }: Endpoints,
  sameMachine: boolean,
  key: string,
  channel: string,
): Promise<Socket> => {
  try {
    const stream = sameMachine ? await connectUnix(socket) : await connectPsk(tcp, key);
    stream.setKeepAlive(true, KEEP_ALIVE);
    stream.write(`${key} ${channel}\n`);
    return stream;
  } catch (error) {
    throw new HypervisorError('unavailable', 'the other host does not answer', (error as Error).message, {
      cause: error,
    });
  }
};

const connectPsk = (tcp: Endpoints['tcp'], key: string): Promise<Socket> =>
  new Promise((resolve, reject) => {
    if (tcp === null) return reject(new Error('the other host takes guests of its own machine only'));
    const psk = Buffer.from(key, 'hex');
    const stream = connectTls({
      ...tcp,
      ...TLS,
      pskCallback: () => ({ psk, identity: IDENTITY }),
      // The key says who it is; there are no names to check.
      checkServerIdentity: () => undefined,
    });
    const giveUp = () => stream.destroy(new Error('no answer'));
    stream.setTimeout(CONNECT_PATIENCE, giveUp);
    stream.once('secureConnect', () => {
      stream.setTimeout(0, giveUp);
      resolve(stream);
    });
    stream.once('error', reject);
    stream.once('close', () => reject(new Error('the connection was closed')));
  });

/** Waits on a socket in a guest's folder for the one connection that QEMU gets from us. */
export const rendezvous = async (path: string): Promise<{ connected: Promise<Socket>; close(): void }> => {
  const server = createServer();
  const connected = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await listenUnix(server, path);
  return { connected, close: () => void server.close() };
};
