import { createHash } from 'node:crypto';
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { seconds } from '@omnivisor/contracts';
import { type WebSocket, WebSocketServer } from 'ws';
import type { ConsoleProtocol } from '../compute/console/console.projection.js';
import type { LiveAnswers } from '../compute/host/live-answers.js';
import { serverTable } from '../compute/server/view/server.projection.js';
import type { GatewayCore } from '../core/gateway-core.js';

/** What a console token opens; null for one that is unknown. */
export interface ConsoleTokens {
  find(fingerprint: string): Promise<{
    readonly serverId: string;
    readonly protocol: ConsoleProtocol;
    readonly expiresAt: string;
  } | null>;
}

/** Bytes that wait for one side before the other is read no further; before the host is there, the console is given up. */
const MAX_WAITING = 1024 * 1024;
const MAX_MESSAGE = 64 * 1024;
export const CONSOLE_PATH = '/console/';
const AGENT_PATH = '/console/agent/';

/**
 * Joins a user's WebSocket with the one its host dials out for the session. Both come to this replica: its own address
 * goes to the host with the question.
 */
export class ConsoleProxy {
  private readonly sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE,
    handleProtocols: (offered) => (offered.has('binary') ? 'binary' : false),
  });
  private readonly awaited = new Map<string, (socket: WebSocket) => void>();

  constructor(
    private readonly core: GatewayCore,
    private readonly tokens: ConsoleTokens,
    private readonly live: LiveAnswers,
    private readonly options: {
      /** `ws://` address under which hosts reach this replica. */
      readonly agentUrl: string;
      /** Origins that browsers may come from, e.g. `https://cloud.example`. */
      readonly origins: readonly string[];
      readonly onError: (where: string, error: unknown) => void;
    },
  ) {}

  /** Takes the console's upgrades of an HTTP server. */
  attach(server: Server): void {
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      // From here on Node no longer hears its errors: a client that breaks off would end this process.
      socket.on('error', () => socket.destroy());
      this.upgrade(request, socket, head).catch((error) => {
        this.options.onError('console', error);
        refuse(socket, 503, 'Service Unavailable');
      });
    });
  }

  private async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const path = request.url ?? '/';
    if (!URL.canParse(path, 'http://localhost')) return refuse(socket, 400, 'Bad Request');
    const url = new URL(path, 'http://localhost');
    if (url.pathname.startsWith(AGENT_PATH)) {
      const take = this.awaited.get(url.pathname.slice(AGENT_PATH.length));
      if (!take) return refuse(socket, 404, 'Not Found');
      this.sockets.handleUpgrade(request, socket, head, (host) => {
        host.on('error', () => host.terminate());
        take(host);
      });
      return;
    }
    if (!url.pathname.startsWith(CONSOLE_PATH)) return refuse(socket, 404, 'Not Found');
    const { origin } = request.headers;
    if (origin !== undefined && !this.options.origins.includes(origin)) return refuse(socket, 403, 'Forbidden');
    const session = await this.authorized(url.searchParams.get('token'));
    if (!session) return refuse(socket, 401, 'Unauthorized');
    this.sockets.handleUpgrade(request, socket, head, (user) => {
      user.on('error', () => user.terminate());
      this.join(user, session).catch((error) => {
        this.options.onError('console', error);
        user.close(1011, 'the console cannot be reached');
      });
    });
  }

  private async authorized(token: string | null) {
    if (!token) return null;
    const found = await this.tokens.find(createHash('sha256').update(token).digest('hex'));
    // Clients reach a console by Remote Desktop by themselves.
    if (!found || found.protocol === 'rdp' || found.expiresAt <= this.core.clock.now()) return null;
    const server = await (await this.core.fresh()).get(serverTable, found.serverId);
    if (!server?.onHost || server.deleteRequested || server.power !== 'running') return null;
    return { host: server.onHost, serverId: server.id, protocol: found.protocol };
  }

  private async join(
    user: WebSocket,
    session: NonNullable<Awaited<ReturnType<ConsoleProxy['authorized']>>>,
  ): Promise<void> {
    const key = this.core.ids.hex() + this.core.ids.hex();
    const early: Buffer[] = [];
    let waiting = 0;
    const keep = (data: Buffer) => {
      waiting += data.length;
      if (waiting > MAX_WAITING) user.close(1013, 'the other side is too slow');
      else early.push(data);
    };
    user.on('message', keep);
    const arrived = new Promise<WebSocket>((resolve) => this.awaited.set(key, resolve));
    try {
      const answered = this.live.ask(session.host, {
        kind: 'console',
        serverId: session.serverId,
        protocol: session.protocol,
        url: `${this.options.agentUrl}${AGENT_PATH}${key}`,
      });
      const answer = await answered;
      if (!answer.ok) throw new Error(answer.unsupported ? 'the host has no such console' : 'the host cannot open it');
      const host = await Promise.race([arrived, this.late()]);
      user.off('message', keep);
      if (user.readyState !== user.OPEN) return host.close();
      for (const data of early) host.send(data);
      pipe(user, host);
      pipe(host, user);
    } finally {
      this.awaited.delete(key);
    }
  }

  private async late(): Promise<never> {
    await this.core.clock.sleep(seconds(10));
    throw new Error('the host did not dial in');
  }
}

const pipe = (from: WebSocket, to: WebSocket): void => {
  const sent = () => {
    if (from.isPaused && to.bufferedAmount <= MAX_WAITING) from.resume();
  };
  from.on('message', (data: Buffer) => {
    to.send(data, sent);
    // One that is closed takes nothing, and counts it all.
    if (to.readyState === to.OPEN && to.bufferedAmount > MAX_WAITING) from.pause();
  });
  from.on('close', () => to.close());
  // One that is paused does not hear that it is closed.
  to.on('close', () => from.resume());
};

const refuse = (socket: Duplex, status: number, text: string): void => {
  socket.end(`HTTP/1.1 ${status} ${text}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
};
