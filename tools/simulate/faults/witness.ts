import type { HostId, RecordedEvent, ServerId } from '@omnivisor/contracts';
import type { Clock } from '@omnivisor/platform/ports';
import type { Absence, Deed, Move } from './evidence.js';

interface Mark {
  readonly serverId: ServerId;
  readonly attempt: number;
}

/** Sees everything, and keeps what the log said at that moment. */
export class Witness {
  readonly deeds: Deed[] = [];
  readonly moves: Move[] = [];
  readonly absences: Absence[] = [];
  /** Servers that ran on two hosts at a time. */
  readonly doubles: string[] = [];
  readonly liedAbout = new Set<string>();
  /** Processes that went on for ever at one moment. */
  readonly goingRound: string[] = [];
  log: readonly RecordedEvent[] = [];
  /** How often an older log was restored. */
  epoch = 0;
  private streams = new Map<string, RecordedEvent[]>();

  /** @param attemptOn of the guest of a server that is on a host now */
  constructor(
    private readonly clock: Clock,
    private readonly attemptOn: (host: HostId, serverId: ServerId) => number | undefined,
  ) {}

  appended(events: readonly RecordedEvent[]): void {
    this.log = [...this.log, ...events];
    for (const event of events) {
      this.keep(event);
      if (event.type !== 'ServerGuestAbsent') continue;
      const { host, ...mark } = event.data as Mark & { readonly host: HostId };
      const there = this.attemptOn(host, mark.serverId);
      const guestWasThere = there !== undefined && there <= mark.attempt;
      this.absences.push({ host, serverId: mark.serverId, attempt: mark.attempt, guestWasThere });
    }
  }

  /** The log is an older one now. */
  restored(position: number): void {
    this.epoch++;
    this.log = this.log.filter((e) => e.position <= position);
    this.streams = new Map();
    for (const event of this.log) this.keep(event);
  }

  deed(kind: Deed['kind'], host: HostId, { serverId, attempt }: Mark): void {
    const { epoch } = this;
    this.deeds.push({
      kind,
      host,
      serverId,
      attempt,
      at: this.clock.now(),
      epoch,
      ...this.saidOf(host, serverId, attempt),
    });
  }

  begins(host: HostId, agent: { readonly name: string; readonly session: number }, method: string, serverId: ServerId) {
    const at = this.clock.now();
    const attempt = this.attemptOn(host, serverId);
    const next = this.sessionsOf(host).find((s) => s.session > agent.session);
    const overFor = next ? Date.parse(at) - next.at : 0;
    this.moves.push({
      agent: agent.name,
      method,
      host,
      serverId,
      at,
      overFor,
      ...this.saidOf(host, serverId, attempt),
    });
  }

  sessionsOf(hostId: string): { readonly session: number; readonly at: number }[] {
    return this.streamOf(`host-${hostId}`)
      .filter((e) => e.type === 'HostSessionStarted')
      .map((e) => ({ session: (e.data as { session: number }).session, at: Date.parse(e.recordedAt) }));
  }

  streamOf(stream: string): readonly RecordedEvent[] {
    return this.streams.get(stream) ?? [];
  }

  private saidOf(host: HostId, serverId: ServerId, attempt: number | undefined) {
    const discarded = this.discardedOn(host, serverId);
    return {
      stream: [...this.streamOf(`server-${serverId}`)],
      // Of a guest that is gone already any will do.
      discarded: attempt === undefined ? discarded.size > 0 : discarded.has(attempt),
    };
  }

  /** Attempts of a server that an operator gave up on a host. A verdict is on the guest that was reported last. */
  private discardedOn(host: HostId, serverId: ServerId): ReadonlySet<number> {
    const discarded = new Set<number>();
    let reported: number | undefined;
    for (const { type, data } of this.streamOf(`host-${host}`)) {
      const told = data as { readonly serverId?: string; readonly attempt: number; readonly verdict: string };
      if (told.serverId !== serverId) continue;
      if (type === 'HostQuarantineReported') reported = told.attempt;
      if (type === 'HostQuarantineSettled' && told.verdict === 'discard' && reported !== undefined)
        discarded.add(reported);
    }
    return discarded;
  }

  private keep(event: RecordedEvent): void {
    const stream = this.streams.get(event.stream);
    if (stream) stream.push(event);
    else this.streams.set(event.stream, [event]);
  }
}
