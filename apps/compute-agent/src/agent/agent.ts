import type { Endpoint } from '@omnivisor/contracts';
import {
  at,
  DomainError,
  type HostFact,
  hostBus,
  invalid,
  type Milliseconds,
  type ServerId,
  seconds,
} from '@omnivisor/contracts';
import type { Subscription } from '@omnivisor/platform/ports';
import type { z } from 'zod';
import { type FoundGuest, HypervisorError } from '../drivers/hypervisor-driver.js';
import { GuestWork } from './guest-work.js';
import { LiveQuestions } from './live-questions.js';
import type { AgentPorts, NetworkPlan } from './ports.js';
import { type Action, type DesiredServer, nextAction } from './reconcile.js';

const ROUND = seconds(30);
/** Answers about changes do not tell that a subnet is gone. */
const WHOLE_ROUND = seconds(600);
const BEAT = seconds(10);
const RETRY = seconds(2);
/** How long a guest may take to shut down by itself before its power is cut. */
const GRACE = seconds(60);

/** What is looked at: servers that changed; all guests against what is known; or everything anew. */
const LOOKS = ['changes', 'round', 'whole'] as const;
type Look = (typeof LOOKS)[number];

/**
 * Compares what the log wants of this host with what is on it, and closes the difference; one action at a time for each
 * server, many servers at once. A message is a wake-up, never the carrier of truth.
 */
export class Agent {
  private session = 0;
  private version = 0;
  private readonly desired = new Map<string, DesiredServer>();
  private networks = new Map<string, NetworkPlan>();
  private readonly busy = new Map<string, AbortController>();
  private readonly again = new Set<string>();
  /** Newest power operation per server that the log knows to be settled. */
  private readonly carriedOut = new Map<string, number>();
  /** Ports as they were last plugged, so that only what changed is touched. */
  private readonly plugged = new Map<string, string>();
  private readonly retries = new Map<string, () => void>();
  private readonly work: GuestWork;
  private readonly live: LiveQuestions;
  private readonly abort = new AbortController();
  private subscription: Subscription | undefined;
  private refreshing: Promise<void> | undefined;
  private wanted: 'nothing' | Look = 'nothing';
  private bootId = '';
  private ended: () => void = () => {};
  /** Resolves when a newer session of this host has taken over. */
  readonly superseded = new Promise<void>((resolve) => {
    this.ended = resolve;
  });

  constructor(private readonly ports: AgentPorts) {
    this.work = new GuestWork(ports, GRACE, ports.spawns ?? 2);
    this.live = new LiveQuestions(ports, () => this.session);
  }

  /** Takes up the host; resolves when the first whole round has begun. */
  async start(): Promise<void> {
    const facts = await this.ports.facts();
    this.bootId = facts.bootId;
    for (;;) {
      try {
        const reply = await this.ask(hostBus.hello, { facts });
        this.session = reply.session;
        if (reply.cloudId !== this.ports.cloudId) throw invalid('this host belongs to another cloud');
        break;
      } catch (error) {
        if (error instanceof DomainError && error.kind !== 'unavailable') throw error;
        this.ports.onError('hello', error);
        await this.ports.clock.sleep(RETRY, this.abort.signal);
        if (this.abort.signal.aborted) return;
      }
    }
    this.subscription = await this.ports.bus.subscribe(hostBus.wakeSubject(this.ports.hostId), (message) => {
      const wake = hostBus.Wake.safeParse(message);
      if (!wake.success) return;
      if (wake.data.kind === 'desired') this.refresh('changes');
      else void this.live.answer(wake.data);
    });
    this.every(ROUND, () => this.refresh('round'));
    this.every(WHOLE_ROUND, () => this.refresh('whole'));
    this.every(BEAT, () => void this.beat());
    void this.watch();
    this.refresh('whole');
  }

  /** Lets go; guests and networks stay as they are. */
  async stop(): Promise<void> {
    this.abort.abort();
    for (const cancel of this.retries.values()) cancel();
    await this.subscription?.close();
    await this.ports.network.close();
    await this.ports.driver.close();
  }

  /** True when nothing is being done right now. */
  idle(): boolean {
    return this.busy.size === 0 && !this.refreshing && this.retries.size === 0;
  }

  private every(interval: Milliseconds, action: () => void): void {
    const next = () =>
      this.ports.clock.after(interval, () => {
        if (this.abort.signal.aborted) return;
        action();
        next();
      });
    const cancel = next();
    this.abort.signal.addEventListener('abort', cancel);
  }

  private async beat(): Promise<void> {
    try {
      const { superseded } = await this.ask(hostBus.beat, { session: this.session });
      if (superseded) this.end();
    } catch (error) {
      this.ports.onError('beat', error);
    }
  }

  private end(): void {
    if (this.abort.signal.aborted) return;
    void this.stop();
    this.ended();
  }

  /** What the driver tells of itself is a hint; the guest is looked at again. */
  private async watch(): Promise<void> {
    while (!this.abort.signal.aborted) {
      try {
        for await (const event of this.ports.driver.events(this.abort.signal)) this.reconcile(event.serverId);
      } catch (error) {
        this.ports.onError('events of the hypervisor', error);
      }
      await this.ports.clock.sleep(RETRY, this.abort.signal);
    }
  }

  private refresh(how: Look): void {
    if (this.abort.signal.aborted) return;
    if (this.wanted === 'nothing' || LOOKS.indexOf(how) > LOOKS.indexOf(this.wanted)) this.wanted = how;
    if (this.refreshing) return;
    this.refreshing = this.drain().finally(() => {
      this.refreshing = undefined;
      if (this.wanted !== 'nothing') this.refresh(this.wanted);
    });
  }

  private async drain(): Promise<void> {
    const look: Look = this.wanted === 'nothing' || this.version === 0 ? 'whole' : this.wanted;
    const all = look !== 'changes';
    this.wanted = 'nothing';
    try {
      // The guests first: whatever is here now was known to the log before we ask it.
      const found = all ? (await this.ports.driver.list()).filter((g) => g.mark.cloudId === this.ports.cloudId) : [];
      const reply = await this.ask(hostBus.desired, {
        session: this.session,
        since: look === 'whole' ? 0 : this.version,
      });
      if (reply.session !== this.session) return this.end();
      if (reply.whole) {
        this.desired.clear();
        this.networks.clear();
      }
      for (const server of reply.servers) this.desired.set(server.serverId, server);
      for (const network of reply.networks) this.networks.set(network.networkId, network);
      await this.ports.network.ensureNetworks(reply.networks);
      await this.ports.network.regroup(reply.groups);
      await this.refreshPlugs(reply.servers);
      this.version = reply.version;
      if (all) await this.settle(found, reply.discard);
      const concerned =
        reply.whole || all
          ? new Set([...this.desired.keys(), ...found.map((g) => g.mark.serverId as string)])
          : new Set(reply.servers.map((s) => s.serverId as string));
      for (const id of concerned) this.reconcile(id);
    } catch (error) {
      this.ports.onError('desired', error);
      this.retry('', () => this.refresh(look));
    }
  }

  /** Brings the rules of ports that are plugged already up to date; new ones are plugged when their guest is made. */
  private async refreshPlugs(servers: readonly DesiredServer[]): Promise<void> {
    for (const server of servers) {
      if (server.tombstone) for (const portId of server.portIds) this.plugged.delete(portId);
      else if (server.spawned)
        for (const port of server.ports) {
          const text = JSON.stringify(port);
          if (this.plugged.get(port.portId) === text) continue;
          await this.ports.network.plug(port);
          this.plugged.set(port.portId, text);
        }
    }
  }

  /** Reports guests that carry our mark although the log does not ask for them, and acts on what operators decided. */
  private async settle(
    found: readonly FoundGuest[],
    discard: readonly { serverId: string; attempt: number }[],
  ): Promise<void> {
    const guests: { serverId: ServerId; attempt: number; reason: string }[] = [];
    for (const guest of found) {
      const { serverId, attempt } = guest.mark;
      const action = nextAction(this.desired.get(serverId), guest);
      if (action?.kind !== 'quarantine' || this.busy.has(serverId)) continue;
      if (!(await this.look(serverId))) continue;
      if (discard.some((d) => d.serverId === serverId && d.attempt === attempt)) await this.work.destroy(serverId);
      else guests.push({ serverId, attempt, reason: action.reason });
    }
    await this.ask(hostBus.quarantine, { session: this.session, guests });
  }

  private async look(id: string): Promise<FoundGuest | undefined> {
    try {
      const guest = await this.ports.driver.inspect(id as ServerId);
      return guest.mark.cloudId === this.ports.cloudId ? guest : undefined;
    } catch (error) {
      if (error instanceof HypervisorError && error.code === 'serverNotOnHost') return undefined;
      throw error;
    }
  }

  private reconcile(id: string): void {
    if (this.abort.signal.aborted) return;
    const running = this.busy.get(id);
    if (running) {
      this.again.add(id);
      if (this.desired.get(id)?.tombstone) running.abort();
      return;
    }
    const controller = new AbortController();
    this.busy.set(id, controller);
    void this.close(id, controller.signal).finally(() => {
      this.busy.delete(id);
      if (this.again.delete(id)) this.reconcile(id);
    });
  }

  /** Closes the difference for one server. */
  private async close(id: string, signal: AbortSignal): Promise<void> {
    try {
      const wanted = this.desired.get(id);
      if (!wanted) return;
      const { operation } = wanted;
      const settled = operation && operation.generation <= (this.carriedOut.get(id) ?? 0);
      const desired = settled ? { ...wanted, operation: { ...operation, done: true } } : wanted;
      const found = await this.look(id);
      const action = nextAction(desired, found);
      if (action && !this.abort.signal.aborted) await this.carryOut(action, desired, found, signal);
    } catch (error) {
      if (signal.aborted) return;
      this.ports.onError(`server ${id}`, error);
      this.retry(id, () => this.reconcile(id));
    }
  }

  private async carryOut(
    action: Action,
    desired: DesiredServer,
    found: FoundGuest | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { serverId: id } = desired;
    const tell = (fact: HostFact) => this.report(desired, fact);
    switch (action.kind) {
      case 'quarantine':
        return;
      case 'spawn': {
        const boot = await this.ask(hostBus.serverBoot, {
          session: this.session,
          serverId: id,
          attempt: desired.attempt,
        });
        const failure = await this.work.spawn(desired, this.ports.cloudId, boot, signal);
        if (failure === null) return tell({ kind: 'spawned', power: 'running', bootId: this.bootId });
        return tell({ kind: 'spawnFailed', reason: failure });
      }
      case 'destroy':
        await this.work.destroy(id);
        return this.confirmAbsence(desired);
      case 'reportAbsent':
        return this.confirmAbsence(desired);
      case 'reportSpawned':
        return tell({ kind: 'spawned', power: found!.power, bootId: this.bootId });
      case 'reportPower':
        return tell({ kind: 'powerChanged', power: found!.power, bootId: this.bootId });
      case 'reportMissing':
        return tell({ kind: 'missing' });
      case 'failOperation':
        return this.settleOperation(desired, action.generation, {
          kind: 'operationFailed',
          generation: action.generation,
          operation: action.operation,
          reason: 'The guest is no longer on its host.',
          unsupported: false,
          power: null,
        });
      case 'operate': {
        const result = await this.work.operate(desired, action.operation);
        const { generation, operation } = action;
        return this.settleOperation(
          desired,
          generation,
          result.ok
            ? { kind: 'operationDone', generation, operation, power: result.power, bootId: this.bootId }
            : { kind: 'operationFailed', generation, operation, ...result.failure },
        );
      }
    }
  }

  private async confirmAbsence(desired: DesiredServer): Promise<void> {
    await this.work.unplug(desired);
    await this.report(desired, { kind: 'absent' });
    this.carriedOut.delete(desired.serverId);
  }

  /** Once the log has heard of it, an operation is not carried out again, even if an older answer still asks for it. */
  private async settleOperation(desired: DesiredServer, generation: number, fact: HostFact): Promise<void> {
    await this.report(desired, fact);
    this.carriedOut.set(desired.serverId, generation);
  }

  private async report(desired: DesiredServer, fact: HostFact): Promise<void> {
    const reply = await this.ask(hostBus.report, {
      session: this.session,
      serverId: desired.serverId,
      attempt: desired.attempt,
      fact,
    });
    // The log knows better: ask it again what it wants.
    if (!reply.accepted) return this.refresh('whole');
    this.learn(desired, fact);
  }

  /** What the log has accepted is what it wants from now on. */
  private learn({ serverId: id, attempt }: DesiredServer, fact: HostFact): void {
    const wanted = this.desired.get(id);
    if (wanted?.attempt !== attempt) return;
    if (fact.kind === 'absent' || fact.kind === 'spawnFailed') this.desired.delete(id);
    else if (fact.kind === 'spawned') this.desired.set(id, { ...wanted, spawned: true, power: fact.power });
    else if (fact.kind === 'powerChanged') this.desired.set(id, { ...wanted, power: fact.power });
    else if (fact.kind === 'operationDone' && wanted.operation?.generation === fact.generation)
      this.desired.set(id, { ...wanted, operation: { ...wanted.operation, done: true }, power: fact.power });
  }

  private retry(id: string, action: () => void): void {
    this.retries.get(id)?.();
    this.retries.set(
      id,
      this.ports.clock.after(RETRY, () => {
        this.retries.delete(id);
        action();
      }),
    );
  }

  private ask<Q extends z.ZodType, R extends z.ZodType>(
    endpoint: Endpoint<Q, R>,
    request: z.input<Q>,
  ): Promise<z.output<R>> {
    return this.ports.bus.request(endpoint, request, at(endpoint, this.ports.hostId));
  }
}
