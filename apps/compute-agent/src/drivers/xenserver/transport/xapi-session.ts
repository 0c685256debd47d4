import { createClient, type Xapi } from 'xen-api';
import { type Endpoint, openTrustedSocket, type Trust } from '../../common/trusted-socket.js';
import { HypervisorError } from '../../hypervisor-driver.js';
import { isNoAnswer, isXapiError, XapiFault, xapiCode } from './xapi-error.js';

export interface XapiAccess {
  /** Members of the pool, e.g. `https://10.0.0.1`: any of them leads to the master. */
  readonly urls: readonly string[];
  readonly user: string;
  readonly password: string;
  readonly trust: Trust;
  /** Milliseconds until a member that does not answer a call counts as away; 30 s when not given. */
  readonly answerTimeout?: number;
  /** Milliseconds for a connection; 10 s when not given. */
  readonly connectTimeout?: number;
  /** Milliseconds that a task gets to end once it was cancelled; 10 s when not given. */
  readonly cancelGrace?: number;
}

/** A task that goes on although its time is over and it was cancelled: what it does is the pool's from now on. */
export class TaskGoesOn extends HypervisorError {
  constructor(cancelling: unknown) {
    const refused = cancelling instanceof Error ? `task.cancel: ${cancelling.message}` : undefined;
    super('unavailable', 'a task of the pool does not end in time', refused, { cause: cancelling });
  }
}

/** Milliseconds that a task may take when nothing else is said. */
const TASK_LIMIT = 600_000;
/** The same for one that writes memory or disks: hours may pass until gigabytes have moved. */
export const LONG_TASK_LIMIT = 6 * 3_600_000;
/** Seconds that a question for events waits for one. */
const EVENT_WAIT = 20;
/** The same for a task, which may be lost: no event tells of that. */
const TASK_WAIT = 1;
const CANCEL_GRACE = 10_000;
const TRIES = 3;

/** Refused before anything was done: another member is the master now, or the session is over. */
const HANDED_OVER = new Set(['HOST_IS_SLAVE', 'SESSION_INVALID']);
/** The connection was not made, so the call has not arrived. */
const NEVER_ARRIVED = /^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)$/;
const CHANGES_NOTHING = /^(?:\w+\.(?:get_\w+|assert_\w+)|event\.from)$/;

/**
 * A session with the master of a pool. It finds the master by any member, goes to another when the master changes or
 * is lost, and logs in anew when the session is over. A call that may have been carried out is not repeated.
 */
export class XapiSession {
  private client: Xapi | null = null;
  private connecting: Promise<Xapi> | null = null;
  /** Addresses that the pool itself has told. */
  private readonly members = new Set<string>();
  private closed = false;

  constructor(private readonly access: XapiAccess) {}

  /** @throws XapiFault-like errors of XAPI, and errors of sockets */
  call<T>(method: string, ...args: readonly unknown[]): Promise<T> {
    return this.carry(method, (client) => client.call<T>(method, ...args));
  }

  private async carry<T>(method: string, ask: (client: Xapi) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const client = await this.connected();
      try {
        return await ask(client);
      } catch (error) {
        const handedOver = HANDED_OVER.has(xapiCode(error) ?? '');
        if (!handedOver && !isNoAnswer(error)) throw error;
        this.letGo(client);
        const safe =
          handedOver || CHANGES_NOTHING.test(method) || NEVER_ARRIVED.test((error as NodeJS.ErrnoException).code ?? '');
        if (!safe || this.closed || tries === TRIES) throw error;
      }
    }
  }

  /**
   * Runs a call as a task of the pool, to its end.
   * @returns the result as XAPI writes it: a reference for calls that make an object
   * @throws TaskGoesOn when it has not ended a while after its limit
   */
  async run(method: string, args: readonly unknown[], options: TaskOptions = {}): Promise<string> {
    const task = await this.call<string>(`Async.${method}`, ...args);
    let goesOn = false;
    try {
      return await this.attended(task, options);
    } catch (error) {
      goesOn = error instanceof TaskGoesOn;
      throw error;
    } finally {
      // One that goes on is left to be seen with the pool's own tools.
      if (!goesOn) void this.call('task.destroy', task).catch(() => undefined);
    }
  }

  /** The result of a task, which is cancelled when its limit is over. @throws TaskGoesOn when it has not ended a while after */
  async attended(task: string, { signal, limit = TASK_LIMIT, onProgress }: TaskOptions): Promise<string> {
    const late = AbortSignal.timeout(limit);
    const end = signal ? AbortSignal.any([signal, late]) : late;
    let refused: unknown;
    const cancel = () =>
      void this.call('task.cancel', task).catch((error: unknown) => {
        refused = error;
      });
    end.addEventListener('abort', cancel, { once: true });
    if (end.aborted) cancel();
    try {
      return await this.settled(task, { onProgress, limit: limit + (this.access.cancelGrace ?? CANCEL_GRACE) });
    } catch (error) {
      throw error instanceof TaskGoesOn ? new TaskGoesOn(refused) : error;
    } finally {
      end.removeEventListener('abort', cancel);
    }
  }

  /** Cancels a task, whoever began it, and waits until it is over, however it ended. @throws TaskGoesOn */
  async end(task: string): Promise<void> {
    // Refused or too late, the task tells.
    await this.call('task.cancel', task).catch(unlessAnswered);
    await this.settled(task).catch(unlessAnswered);
  }

  /**
   * The result of a task when it is over.
   * @param options.limit milliseconds that are waited for it
   * @throws XapiFault what the task failed with; TaskGoesOn
   */
  async settled(
    task: string,
    {
      onProgress,
      limit = TASK_LIMIT,
    }: { readonly onProgress?: ((done: number) => void) | undefined; readonly limit?: number } = {},
  ): Promise<string> {
    const deadline = performance.now() + limit;
    for (let token: EventToken | null = null; ; ) {
      const batch: EventBatch = await this.events([`task/${task}`], token, TASK_WAIT);
      token = batch.token;
      // A task is not kept when the master changes.
      const record = (batch.events.at(-1)?.snapshot ?? (await this.call('task.get_record', task))) as TaskRecord;
      onProgress?.(record.progress);
      if (record.status === 'success') return /<value>(.*?)<\/value>/s.exec(record.result)?.[1] ?? record.result;
      if (record.status !== 'pending' && record.status !== 'cancelling') {
        const [code = 'TASK_CANCELLED', ...params] = record.error_info;
        throw new XapiFault(code, params);
      }
      if (performance.now() > deadline) throw new TaskGoesOn(undefined);
    }
  }

  /**
   * What has changed of these classes since a token, or an empty batch after a while.
   * @param since null, or a token of a session that is over: all that there is
   */
  events(classes: readonly string[], since: EventToken | null, wait = EVENT_WAIT): Promise<EventBatch> {
    return this.carry('event.from', async (session) => {
      const known = since?.session === session ? since.text : '';
      // A whole number would be one on the wire, and XAPI wants a fraction.
      const answer = await session.call<Answer>('event.from', classes, known, wait + 0.1);
      return { events: answer.events, token: { session, text: answer.token }, isWhole: known === '' };
    });
  }

  /** Where the master is reached, and the session's id for what goes beside calls. */
  async location(): Promise<{ readonly master: Endpoint; readonly sessionId: string }> {
    const client = await this.connected();
    return { master: endpointOf(client), sessionId: client.sessionId };
  }

  /** A member by its address, reached as the master is. */
  async member(address: string): Promise<Endpoint> {
    return { ...(await this.location()).master, host: address };
  }

  open(endpoint: Endpoint) {
    return openTrustedSocket(endpoint, this.access.trust, this.access.connectTimeout ?? 10_000);
  }

  async close(): Promise<void> {
    this.closed = true;
    if (this.client) this.letGo(this.client);
  }

  private connected(): Promise<Xapi> {
    // When a session is over, its client knows it a moment before whoever has asked does.
    if (this.client?.status === 'connected') return Promise.resolve(this.client);
    this.connecting ??= this.connect().finally(() => {
      this.connecting = null;
    });
    return this.connecting;
  }

  /** The first member that leads to a master. */
  private async connect(): Promise<Xapi> {
    const failures: unknown[] = [];
    for (const url of new Set([...this.access.urls, ...this.members])) {
      if (this.closed) break;
      const client = this.makeClient(url);
      try {
        await client.connect();
        const hosts = await client.call<Record<string, { address: string }>>('host.get_all_records');
        const { protocol, port } = client._url;
        for (const { address } of Object.values(hosts))
          this.members.add(`${protocol}//${address.includes(':') ? `[${address}]` : address}${port ? `:${port}` : ''}`);
        this.client = client;
        return client;
      } catch (error) {
        failures.push(error);
        this.letGo(client);
      }
    }
    // What a member said tells more than that another one is away.
    throw failures.find(isXapiError) ?? failures[0] ?? new XapiFault('SESSION_INVALID', ['closed']);
  }

  private makeClient(url: string): Xapi {
    const { user, password, trust, answerTimeout = 30_000, connectTimeout = 10_000 } = this.access;
    const timeoutOf = (method: string) => answerTimeout + (method === 'event.from' ? EVENT_WAIT * 1000 : 0);
    const client = createClient({
      url,
      auth: { user, password },
      watchEvents: false,
      callTimeout: timeoutOf,
      // Questions for events wait long; they must not be in the way of others.
      callConcurrency: 1_000,
      roCallRetryOptions: { tries: 1 },
    });
    const { constructor: Dispatcher } = client._undiciDispatcher;
    client._undiciDispatcher = new Dispatcher({
      connect: ({ hostname, port, protocol }, done) => {
        const secure = protocol === 'https:';
        const endpoint = { secure, host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) || (secure ? 443 : 80) };
        openTrustedSocket(endpoint, trust, connectTimeout).then(
          (socket) => done(null, socket),
          (error: Error) => done(error, null),
        );
      },
      bodyTimeout: timeoutOf('event.from'),
      headersTimeout: timeoutOf('event.from'),
    });
    client._setUrl(client._url);
    // Another session is another client's, so that what is good for one of them only is not taken to the next.
    client._sessionCallRetryOptions = { tries: 1 };
    return client;
  }

  private letGo(client: Xapi): void {
    if (this.client === client) this.client = null;
    // The session is given up if somebody hears it; nobody waits for that.
    const said = client.disconnect().catch(() => undefined);
    const soon = new Promise((resolve) => setTimeout(resolve, 200).unref());
    void Promise.race([said, soon]).then(() => client._undiciDispatcher.destroy());
  }
}

const unlessAnswered = (error: unknown): void => {
  if (!isXapiError(error)) throw error;
};

const endpointOf = ({ _url: { protocol, hostname, port } }: Xapi): Endpoint => {
  const secure = protocol === 'https:';
  return { secure, host: hostname.replace(/^\[|\]$/g, ''), port: Number(port ?? (secure ? 443 : 80)) };
};

export interface TaskOptions {
  /** Cancels the task; what it did until then is XAPI's to undo. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds after which the task is cancelled. */
  readonly limit?: number;
  /** Hears which part is done, from 0 to 1. */
  readonly onProgress?: (done: number) => void;
}

/** How far one master has counted its changes. The next one may have counted less, and would leave out what it does until then. */
export interface EventToken {
  readonly session: object;
  readonly text: string;
}

export interface EventBatch {
  readonly token: EventToken;
  /** All that there is, and not only what has changed. */
  readonly isWhole: boolean;
  readonly events: readonly {
    readonly class: string;
    readonly ref: string;
    readonly operation: 'add' | 'mod' | 'del';
    readonly snapshot?: unknown;
  }[];
}

interface Answer extends Pick<EventBatch, 'events'> {
  readonly token: string;
}

interface TaskRecord {
  readonly status: 'pending' | 'success' | 'failure' | 'cancelling' | 'cancelled';
  readonly progress: number;
  readonly result: string;
  readonly error_info: readonly string[];
}
