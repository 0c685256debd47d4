import { setTimeout as pause } from 'node:timers/promises';
import type { Random } from '../simulate/faults/random.js';
import type { Accepted, Seen } from './judge.js';

/** Where a load goes, and as whom. */
export interface Target {
  /** Roots of the API, one of which a request chooses. */
  readonly origins: readonly string[];
  readonly token: string;
  /** What `POST /servers` is asked for, but the name. */
  readonly server: Readonly<Record<string, unknown>>;
}

/** What came of the requests of a load. */
export interface Tally {
  readonly accepted: Accepted[];
  /** Events that the audit API has shown. */
  readonly seen: Seen[];
  /** Reads that were answered. */
  read: number;
  /** Answers that told to come again: 503 and 429. */
  unavailable: number;
  /** What these said, and how often. */
  readonly excuses: Map<string, number>;
  /** Answers that the server is busy or in another state: 409. */
  conflicts: number;
  /** Requests without an answer: whatever came of them has to come to rest too. */
  cut: number;
  /** Answers that nobody may get. */
  readonly unforeseen: string[];
}

const CLIENTS = 8;
const SERVERS_EACH = 4;
/** Milliseconds that a client waits for an answer. */
const PATIENCE = 15_000;

/** Clients that create, stop, start, reboot and delete servers without a pause that is worth the name. */
export class Load {
  tally = emptyTally();
  private readonly deleting = new Set<string>();
  private running: Promise<unknown> = Promise.resolve();
  private stopping = true;
  private made = 0;

  constructor(
    public target: Target,
    private readonly random: Random,
  ) {}

  /** @param servers those that are there: the clients share them */
  start(servers: readonly string[] = []): void {
    this.tally = emptyTally();
    this.stopping = false;
    const shares = Array.from({ length: CLIENTS }, (_, i) => servers.filter((_, n) => n % CLIENTS === i));
    this.running = Promise.all([...shares.map((share) => this.client(share)), this.reader()]);
  }

  /** Resolves once each request has its answer, or will have none. */
  async stop(): Promise<Tally> {
    this.stopping = true;
    await this.running;
    return this.tally;
  }

  private async client(mine: string[]): Promise<void> {
    const off = new Set<string>();
    while (!this.stopping) {
      const id = mine[this.random.below(SERVERS_EACH)];
      if (id === undefined) await this.create(mine);
      else {
        const kind = this.random.pick(off.has(id) ? OF_STOPPED : OF_RUNNING);
        const accepted = await this.act(kind, id, mine);
        if (accepted && kind === 'stop') off.add(id);
        if (accepted && kind === 'start') off.delete(id);
      }
      await pause(40 + this.random.below(120));
    }
  }

  private async create(mine: string[]): Promise<void> {
    const server = { ...this.target.server, name: `chaos-${++this.made}` };
    const answer = await this.ask('POST', '/compute/v2.1/servers', { server });
    if (answer?.status !== 202) return;
    const { id } = (answer.body as { server: { id: string } }).server;
    mine.push(id);
    this.tally.accepted.push({ kind: 'create', serverId: id, requestId: answer.requestId });
  }

  /** @returns whether it was accepted */
  private async act(kind: keyof typeof ACTIONS | 'delete', id: string, mine: string[]): Promise<boolean> {
    const path = `/compute/v2.1/servers/${id}`;
    if (kind === 'delete') this.deleting.add(id);
    const answer =
      kind === 'delete' ? await this.ask('DELETE', path) : await this.ask('POST', `${path}/action`, ACTIONS[kind]);
    const accepted = answer !== null && answer.status < 300;
    if (accepted) this.tally.accepted.push({ kind, serverId: id, requestId: answer.requestId });
    if (answer?.status === 404 && !this.deleting.has(id)) this.tally.unforeseen.push(`${id} was not found`);
    if ((accepted && kind === 'delete') || answer?.status === 404) mine.splice(mine.indexOf(id), 1);
    return accepted;
  }

  /** Looks at the newest event and at all servers: what was shown once has to stay. */
  private async reader(): Promise<void> {
    while (!this.stopping) {
      const newest = await this.ask('GET', '/audit/v1/events?limit=1');
      if (newest?.status === 200) this.tally.seen.push(...(newest.body as { events: Seen[] }).events);
      for (const path of READS) await this.ask('GET', path);
      await pause(200);
    }
  }

  private excused(words: string): void {
    const { excuses } = this.tally;
    this.tally.unavailable++;
    excuses.set(words, (excuses.get(words) ?? 0) + 1);
  }

  /** @returns the answer, null when there was none or it was a refusal that may be */
  private async ask(method: string, path: string, body?: object) {
    const { origins, token } = this.target;
    try {
      const response = await fetch(`${this.random.pick(origins)}${path}`, {
        method,
        headers: {
          'x-auth-token': token,
          'openstack-api-version': 'compute 2.90',
          ...(body ? { 'content-type': 'application/json' } : {}),
        },
        ...(body ? { body: JSON.stringify(body) } : {}),
        signal: AbortSignal.timeout(PATIENCE),
      });
      const text = await response.text();
      const { status } = response;
      if (status === 503 || status === 429) this.excused(`${method} ${path.replace(SERVER, ':id')}: ${text}`);
      else if (status === 409) this.tally.conflicts++;
      else if (status >= 400 && status !== 404)
        this.tally.unforeseen.push(`${method} ${path}: ${status} ${text.slice(0, 300)}`);
      else if (method === 'GET') this.tally.read++;
      const json = text !== '' && (response.headers.get('content-type') ?? '').includes('json');
      return {
        status,
        requestId: response.headers.get('x-openstack-request-id') ?? '',
        body: json ? (JSON.parse(text) as unknown) : null,
      };
    } catch {
      this.tally.cut++;
      return null;
    }
  }
}

const SERVER = /[0-9a-f]{8}-[0-9a-f-]{27}/;

/** One of each service. */
const READS = [
  '/compute/v2.1/servers/detail',
  '/identity/v3/projects',
  '/network/v2.0/networks',
  '/image/v2/images',
  '/placement/resource_providers',
];

const ACTIONS = {
  stop: { 'os-stop': null },
  start: { 'os-start': null },
  reboot: { reboot: { type: 'HARD' } },
} as const;
const OF_RUNNING = ['stop', 'reboot', 'reboot', 'delete'] as const;
const OF_STOPPED = ['start', 'start', 'delete'] as const;

const emptyTally = (): Tally => ({
  accepted: [],
  seen: [],
  read: 0,
  unavailable: 0,
  excuses: new Map(),
  conflicts: 0,
  cut: 0,
  unforeseen: [],
});
