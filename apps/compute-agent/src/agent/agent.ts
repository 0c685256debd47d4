import { type DomainError, hostBus, type Milliseconds, ms, type ServerId, seconds } from '@omnivisor/contracts';
import type { Subscription } from '@omnivisor/platform/ports';
import { DesiredState } from './desired-state.js';
import { GuestActions } from './guest-actions.js';
import { GuestPorts } from './guest-ports.js';
import { HostMaintenance } from './host-maintenance.js';
import { HypervisorWatch, LOOK } from './hypervisor-watch.js';
import { LiveQuestions, type Receive } from './live-questions.js';
import type { AgentPorts, GroupMembers } from './ports.js';
import { isGoing } from './reconcile.js';
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
  private readonly desired = new DesiredState();
  private readonly busy = new Map<string, Work>();
  private readonly again = new Set<string>();
  private readonly retries: Retries;
  private readonly guestPorts: GuestPorts;
  private readonly networking = new Semaphore(NETWORKS_AT_ONCE);
  private readonly abort = new AbortController();
  private session!: Session;
  private actions!: GuestActions;
  private strays!: Strays;
  private maintenance!: HostMaintenance;
  private subscription: Subscription | undefined;
  private refreshing: Promise<void> | undefined;
  private wanted: 'nothing' | Look = 'nothing';
  private stopping: Promise<void> | undefined;
  private over: (ended: DomainError) => void = () => {};
  /** Resolves when this agent has ended because its session is no longer the host's. */
  readonly ended = new Promise<DomainError>((resolve) => {
    this.over = resolve;
  });

  constructor(private readonly ports: AgentPorts) {
    this.guestPorts = new GuestPorts(ports);
    this.retries = new Retries(ports.clock, ports.random);
  }

  /** Takes up the host; resolves when the first whole round has begun. */
  async start(): Promise<void> {
    const taken = await takeUp(this.ports, this.retries, this.abort.signal);
    if (!taken) return;
    const { session, facts } = taken;
    this.session = session;
    this.actions = new GuestActions(this.ports, session, this.guestPorts, this.desired, {
      bootId: facts.bootId,
      grace: GRACE,
      again: (id) => this.again.add(id),
      discarded: () => this.refresh('whole'),
    });
    this.strays = new Strays(this.ports, session, this.guestPorts, {
      desired: (id) => this.desired.server(id),
      isBusy: (id) => this.busy.has(id),
    });
    this.maintenance = new HostMaintenance(this.ports, session);
    session.signal.addEventListener('abort', () => {
      if (this.abort.signal.aborted) return;
      void this.stop()
        .catch((error) => this.ports.onError('stop', error))
        .then(() => this.over(session.signal.reason));
    });
    const live = new LiveQuestions(this.ports, session, {
      receive: (question) => this.receive(question),
      progressOf: (id) => this.actions.progressOf(id),
    });
    this.subscription = await this.ports.bus.subscribe(hostBus.wakeSubject(this.ports.hostId), (message) => {
      const wake = hostBus.Wake.safeParse(message);
      if (!wake.success) return;
      if (wake.data.kind === 'desired') this.refresh('changes');
      else void live.answer(wake.data);
    });
    const forget = this.ports.bus.onRestored(() => this.comeBack());
    this.abort.signal.addEventListener('abort', forget);
    this.every(BEAT, () => void this.beat());
    const health = new HypervisorWatch(this.ports, session, facts);
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
      const { changedAt, maintenance } = await this.session.ask(hostBus.beat, {});
      if (maintenance) this.maintenance.wants(maintenance);
      if (changedAt > this.desired.version) this.refresh('changes');
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
    const look: Look = this.wanted === 'nothing' || this.desired.version === 0 ? 'whole' : this.wanted;
    const all = look !== 'changes';
    this.wanted = 'nothing';
    try {
      // The guests first: whatever is here now was known to the log before we ask it.
      const found = all ? (await this.ports.driver.list()).filter((g) => g.mark.cloudId === this.ports.cloudId) : [];
      const askedAt = this.ports.clock.now();
      const reply = await this.session.ask(hostBus.desired, { since: look === 'whole' ? 0 : this.desired.version });
      this.retries.succeeded('desired');
      this.desired.take(reply, askedAt);
      await this.regroup(reply.groups);
      for (const { networkId } of reply.networks) void this.ensureNetwork(networkId);
      if (all) void this.strays.settle(found).catch((error) => this.failed('what nobody asks for', error));
      const changed = reply.servers.map((s) => s.serverId as string);
      const others =
        reply.whole || all
          ? [...this.desired.serverIds, ...found.map((g) => g.mark.serverId as string), ...this.busy.keys()]
          : [];
      for (const id of new Set([...changed, ...others, ...this.desired.discardIds])) this.reconcile(id);
      // All was asked for anew, perhaps by another log than we knew: what is here was not looked at yet.
      if (reply.whole && !all) this.refresh('round');
    } catch (error) {
      this.failed('desired', error, () => this.refresh(look));
    }
  }

  /** Rules that name a group must know its members before a port is judged by them. */
  private async regroup(groups: readonly GroupMembers[]): Promise<void> {
    if (groups.length === 0) return;
    const key = 'security groups';
    try {
      const leave = this.session.leave();
      leave.given(this.desired.toldAt);
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
      leave.given(this.desired.toldAt);
      await this.networking.use(async () => {
        const plan = this.desired.network(networkId);
        if (!plan) return;
        await leave.step();
        await this.ports.network.ensure(plan);
      }, this.session.signal);
      this.retries.succeeded(key);
    } catch (error) {
      this.failed(key, error, () => void this.ensureNetwork(networkId));
    }
  }

  private reconcile(id: string): void {
    if (this.abort.signal.aborted) return;
    const running = this.busy.get(id);
    if (running) {
      this.again.add(id);
      const wanted = this.desired.server(id);
      if (wanted?.operation?.force) this.actions.force(wanted.serverId);
      if (wanted ? isGoing(wanted) || wanted.operation?.abort : this.desired.discard(id) === undefined)
        running.abort.abort();
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
      () => this.actions.close(id, signal),
      () => this.actions.closePorts(id, signal),
      () => this.actions.closeInterfaces(id, signal),
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

  /** Makes the shell of a guest that is on its way here. @returns its ticket */
  private async receive({ serverId, attempt, offer }: Receive): Promise<string> {
    const expected = () => {
      const wanted = this.desired.server(serverId);
      return wanted?.part === 'incoming' && wanted.attempt === attempt ? wanted : undefined;
    };
    if (!expected()) {
      this.refresh('changes');
      await this.refreshing;
    }
    for (let before = this.busy.get(serverId); before; before = this.busy.get(serverId)) await before.done;
    const desired = expected();
    if (!desired || this.abort.signal.aborted) throw new NotAskedFor();
    return this.begin(serverId, (signal) => this.actions.receive(desired, offer, signal));
  }

  /** Tells of an error, unless all is over anyway, and tries again after a pause. */
  private failed(key: string, error: unknown, again?: () => void, where = key): void {
    if (this.abort.signal.aborted) return;
    this.ports.onError(where, error);
    if (again) this.retries.later(key, again);
  }
}
