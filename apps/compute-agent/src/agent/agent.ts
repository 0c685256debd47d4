import {
  type DomainError,
  type HostFact,
  hostBus,
  type Instant,
  type Milliseconds,
  ms,
  type ServerId,
  seconds,
} from '@omnivisor/contracts';
import type { Subscription } from '@omnivisor/platform/ports';
import type { z } from 'zod';
import { type FoundGuest, HypervisorError, memberOf } from '../drivers/hypervisor-driver.js';
import { GuestOperations } from './guest-operations.js';
import { GuestPorts } from './guest-ports.js';
import { GuestWork } from './guest-work.js';
import { HypervisorWatch, LOOK } from './hypervisor-watch.js';
import { LiveQuestions, type Receive } from './live-questions.js';
import type { AgentPorts, GroupMembers, NetworkPlan } from './ports.js';
import { type Action, type DesiredServer, isGoing, nextAction } from './reconcile.js';
import { Retries } from './retries.js';
import { Semaphore } from './semaphore.js';
import { NotAskedFor, type Session } from './session.js';
import { Strays } from './strays.js';
import { takeUp } from './take-up.js';

const ROUND = seconds(30);
/** Answers about changes do not tell that a subnet is gone. */
const WHOLE_ROUND = seconds(600);
const BEAT = seconds(10);
const SPREAD = seconds(2);
/** How long a guest may take to shut down by itself before its power is cut. */
const GRACE = seconds(60);
/** Networks that are built or brought up to date at the same time. */
const NETWORKS_AT_ONCE = 4;

/** What is looked at: servers that changed; all guests against what is known; or everything anew. */
const LOOKS = ['changes', 'round', 'whole'] as const;
type Look = (typeof LOOKS)[number];

interface Work {
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

/**
 * Compares what the log wants of this host with what is on it, and closes the difference; one action at a time for each
 * server, many servers at once. A message is a wake-up, never the carrier of truth.
 */
export class Agent {
  private version = 0;
  /** When the newest answer to `desired` was asked for. */
  private toldAt: Instant | undefined;
  private readonly desired = new Map<string, DesiredServer>();
  private readonly networks = new Map<string, NetworkPlan>();
  /** Attempts of guests in quarantine that an operator gave up, by server. */
  private discards = new Map<string, number>();
  private readonly busy = new Map<string, Work>();
  private readonly again = new Set<string>();
  /** What came of spawns and was not answered: the log may have it by now, so nothing is made a second time. */
  private readonly untold = new Map<string, { readonly attempt: number; readonly fact: HostFact }>();
  private readonly retries: Retries;
  private readonly guestPorts: GuestPorts;
  private readonly work: GuestWork;
  private readonly operations: GuestOperations;
  private readonly networking = new Semaphore(NETWORKS_AT_ONCE);
  private readonly abort = new AbortController();
  private session!: Session;
  private strays!: Strays;
  private subscription: Subscription | undefined;
  private refreshing: Promise<void> | undefined;
  private wanted: 'nothing' | Look = 'nothing';
  private bootId = '';
  private stopping: Promise<void> | undefined;
  private over: (ended: DomainError) => void = () => {};
  /** Resolves when this agent has ended because its session is no longer the host's. */
  readonly ended = new Promise<DomainError>((resolve) => {
    this.over = resolve;
  });

  constructor(private readonly ports: AgentPorts) {
    const spawning = new Semaphore(ports.spawns ?? 2);
    this.guestPorts = new GuestPorts(ports);
    this.work = new GuestWork(ports, this.guestPorts, spawning);
    this.operations = new GuestOperations(ports, this.guestPorts, spawning, GRACE);
    this.retries = new Retries(ports.clock, ports.random);
  }

  /** Takes up the host; resolves when the first whole round has begun. */
  async start(): Promise<void> {
    const taken = await takeUp(this.ports, this.retries, this.abort.signal);
    if (!taken) return;
    const { session } = taken;
    this.bootId = taken.facts.bootId;
    this.session = session;
    this.strays = new Strays(this.ports, session, this.guestPorts, {
      desired: (id) => this.desired.get(id),
      isBusy: (id) => this.busy.has(id),
    });
    session.signal.addEventListener('abort', () => {
      if (this.abort.signal.aborted) return;
      void this.stop()
        .catch((error) => this.ports.onError('stop', error))
        .then(() => this.over(session.signal.reason));
    });
    const live = new LiveQuestions(this.ports, session, (question) => this.receive(question));
    this.subscription = await this.ports.bus.subscribe(hostBus.wakeSubject(this.ports.hostId), (message) => {
      const wake = hostBus.Wake.safeParse(message);
      if (!wake.success) return;
      if (wake.data.kind === 'desired') this.refresh('changes');
      else void live.answer(wake.data);
    });
    const forget = this.ports.bus.onRestored(() => this.comeBack());
    this.abort.signal.addEventListener('abort', forget);
    this.every(BEAT, () => void this.beat());
    const health = new HypervisorWatch(this.ports, session, taken.facts);
    this.every(LOOK, () => void health.look());
    this.every(ROUND, () => this.refresh('round'));
    this.every(WHOLE_ROUND, () => this.refresh('whole'));
    void this.watch();
    this.refresh('whole');
  }

  /** Gives up what is under way at its next step, and lets go; guests and networks stay as they are. */
  stop(): Promise<void> {
    this.stopping ??= this.letGo();
    return this.stopping;
  }

  private async letGo(): Promise<void> {
    this.abort.abort();
    this.session?.end();
    this.retries.cancel();
    for (const { abort } of this.busy.values()) abort.abort();
    await this.subscription?.close();
    await Promise.all([...this.busy.values()].map((work) => work.done));
    await this.ports.network.close();
    await this.ports.driver.close();
  }

  private every(interval: Milliseconds, action: () => void): void {
    const next = () =>
      this.ports.clock.after(interval, () => {
        if (this.abort.signal.aborted) return;
        action();
        cancel = next();
      });
    let cancel = next();
    this.abort.signal.addEventListener('abort', () => cancel());
  }

  /** What was said while the bus was away is lost. Agents that lost it together do not ask together. */
  private comeBack(): void {
    this.ports.clock.after(ms(SPREAD * this.ports.random()), () => {
      this.retries.now();
      this.refresh('whole');
    });
  }

  private async beat(): Promise<void> {
    try {
      const { changedAt } = await this.session.ask(hostBus.beat, {});
      if (changedAt > this.version) this.refresh('changes');
    } catch (error) {
      this.failed('beat', error);
    }
  }

  /** What the driver tells of itself is a hint; the guest is looked at again. */
  private async watch(): Promise<void> {
    while (!this.abort.signal.aborted) {
      try {
        for await (const event of this.ports.driver.events(this.abort.signal)) {
          this.retries.succeeded('events');
          this.reconcile(event.serverId);
        }
      } catch (error) {
        this.failed('events of the hypervisor', error);
      }
      await this.ports.clock.sleep(this.retries.pause('events'), this.abort.signal);
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
      const askedAt = this.ports.clock.now();
      const reply = await this.session.ask(hostBus.desired, { since: look === 'whole' ? 0 : this.version });
      this.toldAt = askedAt;
      this.retries.succeeded('desired');
      this.take(reply);
      await this.regroup(reply.groups);
      for (const { networkId } of reply.networks) void this.ensureNetwork(networkId);
      if (all) void this.strays.settle(found).catch((error) => this.failed('what nobody asks for', error));
      const changed = reply.servers.map((s) => s.serverId as string);
      const others =
        reply.whole || all
          ? [...this.desired.keys(), ...found.map((g) => g.mark.serverId as string), ...this.busy.keys()]
          : [];
      for (const id of new Set([...changed, ...others, ...this.discards.keys()])) this.reconcile(id);
      // All was asked for anew, perhaps by another log than we knew: what is here was not looked at yet.
      if (reply.whole && !all) this.refresh('round');
    } catch (error) {
      this.failed('desired', error, () => this.refresh(look));
    }
  }

  private take(reply: z.output<typeof hostBus.desired.reply>): void {
    this.version = reply.version;
    if (reply.whole) {
      this.desired.clear();
      this.networks.clear();
    }
    for (const server of reply.servers) this.desired.set(server.serverId, server);
    for (const network of reply.networks) this.networks.set(network.networkId, network);
    this.discards = new Map(reply.discard.map((d) => [d.serverId, d.attempt]));
  }

  /** Rules that name a group must know its members before a port is judged by them. */
  private async regroup(groups: readonly GroupMembers[]): Promise<void> {
    if (groups.length === 0) return;
    const key = 'security groups';
    try {
      const leave = this.session.leave();
      leave.given(this.toldAt);
      await leave.step();
      await this.ports.network.regroup(groups);
      for (const id of this.guestPorts.regrouped(groups.map((g) => g.securityGroupId))) this.reconcile(id);
      this.retries.succeeded(key);
    } catch (error) {
      this.failed(key, error, () => this.refresh('whole'));
    }
  }

  /** One network that cannot be built does not keep the others, or their servers, back. */
  private async ensureNetwork(networkId: string): Promise<void> {
    const key = `network ${networkId}`;
    try {
      const leave = this.session.leave();
      leave.given(this.toldAt);
      await this.networking.use(async () => {
        const plan = this.networks.get(networkId);
        if (!plan) return;
        await leave.step();
        await this.ports.network.ensure(plan);
      }, this.session.signal);
      this.retries.succeeded(key);
    } catch (error) {
      this.failed(key, error, () => void this.ensureNetwork(networkId));
    }
  }

  private async look(id: string): Promise<FoundGuest | undefined> {
    this.session.signal.throwIfAborted();
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
      const wanted = this.desired.get(id);
      if (wanted?.operation?.force) this.operations.force(wanted.serverId);
      if (wanted ? isGoing(wanted) || wanted.operation?.abort : !this.discards.has(id)) running.abort.abort();
      return;
    }
    void this.begin(id, (signal) => this.close(id as ServerId, signal));
  }

  /** Work for a server that nothing is done for now; it is given up when the server is to go. */
  private begin<T>(id: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const abort = new AbortController();
    const result = work(abort.signal);
    const over = () => {
      this.busy.delete(id);
      if (this.again.delete(id)) this.reconcile(id);
    };
    this.busy.set(id, { abort, done: result.then(over, over) });
    return result;
  }

  /** Closes the difference for one server: its guest first, then its ports. Either is tried although the other failed. */
  private async close(id: ServerId, signal: AbortSignal): Promise<void> {
    let failure: { readonly error: unknown } | undefined;
    for (const step of [
      () => this.closeGuest(id, signal),
      () => this.closePorts(id, signal),
      () => this.closeInterfaces(id, signal),
    ])
      try {
        await step();
      } catch (error) {
        if (signal.aborted) return;
        failure ??= { error };
      }
    if (!failure) return this.retries.succeeded(id);
    const again = failure.error instanceof NotAskedFor ? () => this.refresh('whole') : () => this.reconcile(id);
    this.failed(id, failure.error, again, `server ${id}`);
  }

  private async closeGuest(id: ServerId, signal: AbortSignal): Promise<void> {
    const desired = this.desired.get(id);
    const discard = this.discards.get(id);
    if (!desired && discard === undefined) return;
    const found = await this.look(id);
    signal.throwIfAborted();
    const action = nextAction(desired, found, discard);
    if (action?.kind === 'discard') await this.discard(id, action.attempt, signal);
    else if (action && desired) await this.carryOut(action, desired, found, signal);
  }

  private async closePorts(id: ServerId, signal: AbortSignal): Promise<void> {
    const desired = this.desired.get(id);
    if (!desired?.spawned || isGoing(desired) || desired.part || !this.guestPorts.hasStalePorts(desired)) return;
    const leave = this.session.leaveFor({ kind: 'plug', serverId: id, attempt: desired.attempt }, signal);
    if (this.toldAt) leave.given(this.toldAt);
    await this.guestPorts.refreshPorts(desired, leave);
  }

  private async closeInterfaces(id: ServerId, signal: AbortSignal): Promise<void> {
    const desired = this.desired.get(id);
    if (!desired?.spawned || isGoing(desired) || desired.part) return;
    const { serverId, attempt } = desired;
    for (const { portId, change } of desired.interfaces) {
      const leave = this.session.leaveFor({ kind: 'interface', serverId, attempt, portId, change }, signal);
      const failure = await this.guestPorts.changeInterface(desired, portId, change, leave);
      await this.report(
        desired,
        failure ? { kind: 'interfaceFailed', portId, change, ...failure } : { kind: 'interfaceDone', portId, change },
      );
    }
  }

  private async carryOut(
    action: Exclude<Action, { kind: 'discard' }>,
    desired: DesiredServer,
    found: FoundGuest | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { serverId, attempt } = desired;
    const imageFormats = [...this.ports.driver.imageFormats];
    const tell = (fact: HostFact) => this.report(desired, fact);
    const out = desired.release ? 'release' : 'destroy';
    const leaving = this.session.leaveFor({ kind: out, serverId, attempt }, signal);
    switch (action.kind) {
      case 'quarantine':
        return action.report && this.carryOut(action.report, desired, undefined, signal);
      case 'spawn': {
        const known = this.untold.get(serverId);
        if (!found && known?.attempt === attempt) {
          await tell(known.fact);
          this.again.add(serverId);
          return;
        }
        const leave = this.session.leaveFor({ kind: 'spawn', serverId, attempt }, signal);
        const boot = () => this.session.ask(hostBus.serverBoot, { serverId, attempt, imageFormats });
        const failure = desired.adoption
          ? await this.work.adopt(desired, desired.adoption.nativeId, leave)
          : await this.work.spawn(desired, boot, leave);
        // A driver whose spawn failed has left nothing; a guest that is there all the same keeps its place.
        if (failure !== null && (await this.look(serverId)))
          throw new HypervisorError('fault', `a guest of server ${serverId} is in the way of its spawn`, failure);
        // The network side is ours.
        if (failure !== null) await this.guestPorts.unplug(desired.portIds, leave);
        const begun = desired.arrival?.powerOn === false ? 'shutdown' : 'running';
        const power = desired.adoption ? (await this.look(serverId))?.power : begun;
        const fact: HostFact =
          failure === null
            ? { kind: 'spawned', power: power ?? 'noState', bootId: this.bootId }
            : { kind: 'spawnFailed', reason: failure };
        this.untold.set(serverId, { attempt, fact });
        return tell(fact);
      }
      case 'destroy':
        await this.work.destroy(serverId, leaving);
        await this.guestPorts.unplug(desired.portIds, leaving);
        return tell({ kind: 'absent' });
      case 'release':
        await this.work.release(serverId, leaving);
        await this.guestPorts.unplug(desired.portIds, leaving);
        return tell({ kind: 'absent' });
      case 'reportAbsent':
        await this.guestPorts.unplug(desired.portIds, leaving);
        return tell({ kind: 'absent' });
      case 'accept': {
        const leave = this.session.leaveFor({ kind: 'spawn', serverId, attempt }, signal);
        await leave.step();
        try {
          await memberOf(this.ports.driver, 'liveMigration').accept(serverId);
        } catch (error) {
          // All of it was here once: what is not any more will not come.
          if (error instanceof HypervisorError && error.code === 'fault') return tell({ kind: 'missing' });
          throw error;
        }
        const { power } = await this.ports.driver.inspect(serverId);
        return tell({ kind: 'spawned', power, bootId: this.bootId });
      }
      case 'reportSpawned':
        return tell({ kind: 'spawned', power: found!.power, bootId: this.bootId });
      case 'reportPower':
        return tell({ kind: 'powerChanged', power: found!.power, bootId: this.bootId });
      case 'reportMissing':
        return tell({ kind: 'missing' });
      case 'failOperation': {
        const { generation, operation } = action;
        const reason = 'The guest is no longer on its host.';
        return tell({ kind: 'operationFailed', generation, operation, reason, unsupported: false, power: null });
      }
      case 'operate': {
        const { generation, operation } = action;
        const boot = () => this.session.ask(hostBus.serverBoot, { serverId, attempt, generation, imageFormats });
        const upload = (disk?: 'root' | 'ephemeral') =>
          this.session.ask(hostBus.snapshotUpload, { serverId, attempt, generation, ...(disk ? { disk } : {}) });
        const ticket = (offer: string) =>
          this.session.ask(hostBus.migrationTicket, { serverId, attempt, generation, offer });
        const leave = this.session.leaveFor({ kind: 'operate', serverId, attempt, generation }, signal);
        const work = { desired, operation: desired.operation!, boot, upload, ticket, leave };
        const result = await this.operations.operate(work);
        return tell(
          result.ok
            ? { kind: 'operationDone', generation, operation, power: result.power, bootId: this.bootId }
            : { kind: 'operationFailed', generation, operation, ...result.failure },
        );
      }
    }
  }

  /** Makes the shell of a guest that is on its way here. @returns its ticket */
  private async receive({ serverId, attempt, offer }: Receive): Promise<string> {
    const expected = () => {
      const wanted = this.desired.get(serverId);
      return wanted?.part === 'incoming' && wanted.attempt === attempt ? wanted : undefined;
    };
    if (!expected()) {
      this.refresh('changes');
      await this.refreshing;
    }
    for (let before = this.busy.get(serverId); before; before = this.busy.get(serverId)) await before.done;
    const desired = expected();
    if (!desired || this.abort.signal.aborted) throw new NotAskedFor();
    const imageFormats = [...this.ports.driver.imageFormats];
    const boot = () => this.session.ask(hostBus.serverBoot, { serverId, attempt, imageFormats });
    return this.begin(serverId, (signal) =>
      this.work.receive(desired, offer, boot, this.session.leaveFor({ kind: 'receive', serverId, attempt }, signal)),
    );
  }

  private async discard(serverId: ServerId, attempt: number, signal: AbortSignal): Promise<void> {
    await this.work.destroy(serverId, this.session.leaveFor({ kind: 'discard', serverId, attempt }, signal));
    this.discards.delete(serverId);
    this.refresh('whole');
  }

  private async report(desired: DesiredServer, fact: HostFact): Promise<void> {
    const { serverId, attempt } = desired;
    const reply = await this.session.ask(hostBus.report, { serverId, attempt, fact });
    this.untold.delete(serverId);
    if (!reply.accepted) throw new NotAskedFor();
    this.learn(desired, fact);
  }

  /** What the log has accepted is what it wants from now on. */
  private learn({ serverId: id, attempt }: DesiredServer, fact: HostFact): void {
    const wanted = this.desired.get(id);
    if (wanted?.attempt !== attempt) return;
    const { operation } = wanted;
    if (fact.kind === 'absent' || fact.kind === 'spawnFailed') this.desired.delete(id);
    else if (fact.kind === 'spawned') this.desired.set(id, { ...wanted, spawned: true, power: fact.power });
    else if (fact.kind === 'powerChanged') this.desired.set(id, { ...wanted, power: fact.power });
    else if ('portId' in fact)
      this.desired.set(id, {
        ...wanted,
        interfaces: wanted.interfaces.filter((i) => i.portId !== fact.portId),
        ports: wanted.ports.filter(
          (p) => p.portId !== fact.portId || fact.kind !== 'interfaceDone' || fact.change === 'attach',
        ),
      });
    else if ('generation' in fact && operation?.generation === fact.generation)
      this.desired.set(id, {
        ...wanted,
        operation: { ...operation, done: true },
        build: fact.kind === 'operationDone' && fact.operation === 'rebuild' ? fact.generation : wanted.build,
        power: fact.power ?? wanted.power,
      });
  }

  /** Tells of an error, unless all is over anyway, and tries again after a pause. */
  private failed(key: string, error: unknown, again?: () => void, where = key): void {
    if (this.abort.signal.aborted) return;
    this.ports.onError(where, error);
    if (again) this.retries.later(key, again);
  }
}
