import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http';
import type { Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { NoConnection, openTrustedSocket, type Trust } from '../../common/trusted-socket.js';

export interface Exchange {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | { readonly stream: Readable; readonly length: number };
  /** Milliseconds without a byte until it counts as without an answer. */
  readonly timeout: number;
  readonly signal?: AbortSignal | undefined;
}

/** Connections to one address, each of which has shown a certificate that is trusted before anything is sent. */
export class HttpEndpoint {
  private readonly agent: Agent;
  private readonly secure: boolean;
  readonly host: string;
  private readonly port: number;

  constructor(url: URL, trust: Trust, connectTimeout: number) {
    this.secure = url.protocol === 'https:';
    this.host = url.hostname.replace(/^\[|\]$/g, '');
    this.port = url.port === '' ? (this.secure ? 443 : 80) : Number(url.port);
    const endpoint = { secure: this.secure, host: this.host, port: this.port };
    // A socket that rested longer may be one that the other side is just closing.
    this.agent = new Agent({ keepAlive: true, timeout: 3_000 });
    this.agent.createConnection = (_options, done) => {
      openTrustedSocket(endpoint, trust, connectTimeout).then(
        (socket) => done?.(null, socket),
        (error: Error) => done?.(error, undefined as unknown as Duplex),
      );
      return undefined;
    };
  }

  /**
   * Resolves when the head of the answer is there.
   * @throws NoConnection, or what the body's stream failed with
   */
  async send({ method, path, headers = {}, body, timeout, signal }: Exchange): Promise<IncomingMessage> {
    const host = this.host.includes(':') ? `[${this.host}]` : this.host;
    const length = typeof body === 'string' ? Buffer.byteLength(body) : body?.length;
    const outgoing = request({
      agent: this.agent,
      method,
      path,
      host: this.host,
      headers: {
        host: `${host}:${this.port}`,
        ...headers,
        ...(length === undefined ? {} : { 'content-length': String(length) }),
      },
      ...(signal ? { signal } : {}),
    });
    outgoing.setTimeout(timeout, () => outgoing.destroy(new NoConnection(`no answer in ${timeout} ms`)));
    const answered = answerTo(outgoing, signal);
    if (typeof body !== 'object') outgoing.end(body);
    // A server may refuse before it has read all; then its answer counts.
    else
      await Promise.race([pipeline(body.stream, outgoing), answered]).catch(async (error: unknown) => {
        const answer = await Promise.race([answered, new Promise<null>((resolve) => setTimeout(resolve, 200, null))]);
        if (!answer) throw error;
      });
    return answered;
  }

  close(): void {
    this.agent.destroy();
  }
}

const answerTo = (outgoing: ClientRequest, signal: AbortSignal | undefined): Promise<IncomingMessage> => {
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.on('error', (error) => {
      if (signal?.aborted || error instanceof NoConnection) reject(error);
      else reject(new NoConnection(error.message, { cause: error }));
    });
  });
  answered.catch(() => undefined);
  return answered;
};

/** The whole body as text. @throws NoConnection when it does not come to its end, or is longer than `limit` bytes */
export const textOf = async (answer: IncomingMessage, limit: number): Promise<string> => {
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of answer as AsyncIterable<Buffer>) {
      size += part.length;
      if (size > limit) throw new Error(`an answer of more than ${limit} bytes`);
      parts.push(part);
    }
  } catch (error) {
    throw new NoConnection((error as Error).message, { cause: error });
  }
  return Buffer.concat(parts).toString('utf8');
};
