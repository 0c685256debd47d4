import { connect, errors, type Msg, type NatsConnection } from '@nats-io/transport-node';
import { DomainError, type Endpoint, unavailable, WireError } from '@omnivisor/contracts';
import { z } from 'zod';
import type { Bus, BusOptions, Subscription } from '../ports/index.js';
import { inboxOf, replyAllowed } from './credentials.js';
import { authenticator, type NatsCredentials } from './login.js';
import type { NatsServers } from './tls.js';

export interface NatsBusOptions {
  readonly servers: string | readonly string[] | NatsServers;
  /** Shown by the server's monitoring. */
  readonly name: string;
  readonly credentials?: NatsCredentials;
  /** First tokens of the subjects that replies come back on; when not given what the credentials let it hear, or `_INBOX`. */
  readonly inboxPrefix?: string;
  /** False: fail at once when the server is not there yet. True waits for ever. Default true. */
  readonly wait?: boolean;
  /** Answers that may be under way at once; more are refused with `unavailable`. */
  readonly maxInFlight?: number;
  /** What went wrong where nobody waits for it: a handler's unforeseen error, a lost connection. */
  readonly onError?: (where: string, error: unknown) => void;
  readonly onStatus?: (status: string) => void;
}

const serversOf = (servers: NatsBusOptions['servers']): NatsServers => {
  if (typeof servers === 'string') return { servers: servers.split(',') };
  return Symbol.iterator in servers ? { servers: [...servers] } : servers;
};

/** On the wire a reply is `{ok: value}` or `{error: WireError}`. */
const Envelope = z.union([z.object({ error: WireError }), z.object({ ok: z.unknown() })]);

const RECONNECT_WAIT = 250;
/** Milliseconds for a server that takes the connection and then says nothing, as one does that refuses a certificate. */
const FIRST_ANSWER = 5_000;

/**
 * The bus over a NATS server. Reconnects for ever; while it is away requests fail at once and messages are lost, which
 * costs time and never a fact.
 */
export class NatsBus implements Bus {
  private up = true;
  private inFlight = 0;
  private closed = false;
  private readonly restored = new Set<() => void>();

  private constructor(
    /** For what the bus has no word for, such as JetStream. */
    readonly connection: NatsConnection,
    private readonly options: NatsBusOptions,
  ) {
    void this.follow();
  }

  /** @throws DomainError `unavailable` when `wait` is false and no server answers; `forbidden` when it refuses us */
  static async connect(options: NatsBusOptions): Promise<NatsBus> {
    const wait = options.wait ?? true;
    const { credentials } = options;
    const own = credentials?.kind === 'creds' ? await inboxOf(credentials.text) : undefined;
    try {
      const connection = await connect({
        ...serversOf(options.servers),
        name: options.name,
        maxReconnectAttempts: -1,
        reconnectTimeWait: RECONNECT_WAIT,
        waitOnFirstConnect: wait,
        ...(wait ? {} : { timeout: FIRST_ANSWER }),
        ignoreAuthErrorAbort: true,
        inboxPrefix: options.inboxPrefix ?? own ?? '_INBOX',
        // A stack for each request, whether it fails or not, would cost more than the request.
        noAsyncTraces: true,
        ...(credentials ? authenticator(credentials) : {}),
      });
      return new NatsBus(connection, options);
    } catch (error) {
      if (error instanceof errors.AuthorizationError)
        throw new DomainError('forbidden', 'the NATS server refused the credentials', { cause: error });
      throw unavailable('no NATS server answers', error);
    }
  }

  async request<Q extends z.ZodType, R extends z.ZodType>(
    endpoint: Endpoint<Q, R>,
    request: z.input<Q>,
    subject: string = endpoint.subject,
  ): Promise<z.output<R>> {
    if (!this.connected()) throw unavailable(`nobody answers ${subject}: not connected`);
    let answer: Msg;
    try {
      answer = await this.connection.request(subject, JSON.stringify(request ?? null), { timeout: endpoint.timeout });
    } catch (error) {
      throw unavailable(isNoResponders(error) ? `nobody answers ${subject}` : `no answer to ${subject}`, error);
    }
    const envelope = Envelope.safeParse(parsed(answer));
    if (!envelope.success) throw unavailable(`${subject} gave no proper answer`, envelope.error);
    if ('error' in envelope.data) throw DomainError.fromWire(envelope.data.error);
    const reply = endpoint.reply.safeParse(envelope.data.ok);
    if (!reply.success) throw unavailable(`${subject} gave no proper answer`, reply.error);
    return reply.data as z.output<R>;
  }

  async respond<Q extends z.ZodType, R extends z.ZodType>(
    endpoint: Endpoint<Q, R>,
    handler: (request: z.output<Q>, subject: string) => Promise<z.input<R>>,
    options: BusOptions = {},
  ): Promise<Subscription> {
    return this.listen(endpoint.subject, options, (message) => {
      if (message.reply === undefined || !replyAllowed(message.subject, message.reply)) return;
      void this.answer(endpoint, handler, message);
    });
  }

  publish(subject: string, message: unknown): void {
    if (this.connected()) this.connection.publish(subject, JSON.stringify(message ?? null));
  }

  async subscribe(
    subject: string,
    handler: (message: unknown, subject: string) => void,
    options: BusOptions = {},
  ): Promise<Subscription> {
    return this.listen(subject, options, (message) => {
      const value = parsed(message);
      if (value !== MALFORMED) handler(value, message.subject);
    });
  }

  connected(): boolean {
    return this.up && !this.closed && !this.connection.isClosed();
  }

  onRestored(action: () => void): () => void {
    this.restored.add(action);
    return () => this.restored.delete(action);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    const drain = this.up;
    this.closed = true;
    await (drain ? this.connection.drain() : this.connection.close());
  }

  private async listen(subject: string, options: BusOptions, handle: (message: Msg) => void): Promise<Subscription> {
    const subscription = this.connection.subscribe(subject, {
      ...(options.queue === undefined ? {} : { queue: options.queue }),
      callback: (error, message) => {
        if (error) return this.failed(`subscription ${subject}`, error);
        try {
          handle(message);
        } catch (thrown) {
          this.failed(`subscription ${subject}`, thrown);
        }
      },
    });
    // The server knows the subscription once it answered a ping; without one it is told when it comes back.
    if (this.up) await this.connection.flush();
    return {
      close: async () => {
        if (this.closed || subscription.isClosed()) return;
        if (this.up) await subscription.drain();
        else subscription.unsubscribe();
      },
    };
  }

  private async answer<Q extends z.ZodType, R extends z.ZodType>(
    endpoint: Endpoint<Q, R>,
    handler: (request: z.output<Q>, subject: string) => Promise<z.input<R>>,
    message: Msg,
  ): Promise<void> {
    const { subject } = message;
    if (this.inFlight >= (this.options.maxInFlight ?? 1_024))
      return this.send(message, { error: unavailable(`too many requests on ${subject}`).toWire() });
    this.inFlight++;
    try {
      const request = endpoint.request.safeParse(parsed(message));
      if (!request.success) throw new DomainError('invalid', `malformed request on ${subject}`);
      this.send(message, { ok: (await handler(request.data as z.output<Q>, subject)) ?? null });
    } catch (error) {
      if (!(error instanceof DomainError) || error.cause !== undefined) this.failed(`answering ${subject}`, error);
      const told = error instanceof DomainError ? error : unavailable(`${subject} failed`);
      this.send(message, { error: told.toWire() });
    } finally {
      this.inFlight--;
    }
  }

  private send(message: Msg, envelope: z.input<typeof Envelope>): void {
    if (!this.closed || !this.connection.isClosed()) message.respond(JSON.stringify(envelope));
  }

  private async follow(): Promise<void> {
    for await (const status of this.connection.status()) {
      if (status.type === 'disconnect' || status.type === 'close') this.up = false;
      if (status.type === 'reconnect') {
        this.up = true;
        for (const action of this.restored) action();
      }
      if (status.type === 'error') this.failed('NATS', status.error);
      this.options.onStatus?.(status.type);
    }
    this.up = false;
  }

  private failed(where: string, error: unknown): void {
    this.options.onError?.(where, error);
  }
}

const MALFORMED = Symbol('malformed');

const parsed = (message: Msg): unknown => {
  try {
    return message.json();
  } catch {
    return MALFORMED;
  }
};

const isNoResponders = (error: unknown): boolean =>
  error instanceof errors.NoRespondersError || (error instanceof errors.RequestError && error.isNoResponders());
