import { type HostFact, hostBus, type Milliseconds, type ServerId } from '@omnivisor/contracts';
import { type FoundGuest, HypervisorError, type MigrationProgress, memberOf } from '../drivers/hypervisor-driver.js';
import type { DesiredState } from './desired-state.js';
import { GuestOperations } from './guest-operations.js';
import type { GuestPorts } from './guest-ports.js';
import { GuestWork } from './guest-work.js';
import type { AgentPorts } from './ports.js';
import { type Action, type DesiredServer, isGoing, nextAction } from './reconcile.js';
import { Semaphore } from './semaphore.js';
import { NotAskedFor, type Session } from './session.js';

type ActionOf<K extends Action['kind']> = Extract<Action, { kind: K }>;

/** Carries out what is next for one server, and tells the log what came of it. */
export class GuestActions {
  /** What came of spawns and was not answered: the log may have it by now, so nothing is made a second time. */
  private readonly untold = new Map<string, { readonly attempt: number; readonly fact: HostFact }>();
  private readonly work: GuestWork;
  private readonly operations: GuestOperations;

  constructor(
    private readonly ports: AgentPorts,
    private readonly session: Session,
    private readonly guestPorts: GuestPorts,
    private readonly desired: DesiredState,
    private readonly agent: {
      readonly bootId: string;
      /** How long a guest may take to shut down by itself before its power is cut. */
      readonly grace: Milliseconds;
      /** Has the server looked at once more. */
      again(id: ServerId): void;
      /** A guest in quarantine is gone: has everything looked at anew. */
      discarded(): void;
    },
  ) {
    const spawning = new Semaphore(ports.spawns ?? 2);
    this.work = new GuestWork(ports, guestPorts, spawning);
    this.operations = new GuestOperations(ports, guestPorts, spawning, agent.grace);
  }

  /** A live migration that is under way comes to its end, though the guest stands still for it. */
  force(id: ServerId): void {
    this.operations.force(id);
  }

  /** How far the live migration of a guest is; null when that is not known. */
  progressOf(id: ServerId): MigrationProgress | null {
    return this.operations.progressOf(id);
  }

  /** One thing is done at most: the difference that is left is looked at again. */
  async close(id: ServerId, signal: AbortSignal): Promise<void> {
    const desired = this.desired.server(id);
    const discard = this.desired.discard(id);
    if (!desired && discard === undefined) return;
    const found = await this.look(id);
    signal.throwIfAborted();
    const action = nextAction(desired, found, discard);
    if (action?.kind === 'discard') await this.discard(id, action.attempt, signal);
    else if (action && desired) await this.carryOut(action, desired, found, signal);
  }

  async closePorts(id: ServerId, signal: AbortSignal): Promise<void> {
    const desired = this.living(id);
    if (!desired || !this.guestPorts.hasStalePorts(desired)) return;
    const leave = this.session.leaveFor({ kind: 'plug', serverId: id, attempt: desired.attempt }, signal);
    if (this.desired.toldAt) leave.given(this.desired.toldAt);
    await this.guestPorts.refreshPorts(desired, leave);
  }

  async closeInterfaces(id: ServerId, signal: AbortSignal): Promise<void> {
    const desired = this.living(id);
    if (!desired) return;
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

  /** Makes the shell of a guest that is on its way here. @returns its ticket */
  receive(desired: DesiredServer, offer: string, signal: AbortSignal): Promise<string> {
    const { serverId, attempt } = desired;
    const leave = this.session.leaveFor({ kind: 'receive', serverId, attempt }, signal);
    return this.work.receive(desired, offer, this.bootOf(desired), leave);
  }

  /** A server whose guest is here for good. */
  private living(id: ServerId): DesiredServer | undefined {
    const desired = this.desired.server(id);
    return desired?.spawned && !isGoing(desired) && !desired.part ? desired : undefined;
  }

  private async look(id: ServerId): Promise<FoundGuest | undefined> {
    this.session.signal.throwIfAborted();
    try {
      const guest = await this.ports.driver.inspect(id);
      return guest.mark.cloudId === this.ports.cloudId ? guest : undefined;
    } catch (error) {
      if (error instanceof HypervisorError && error.code === 'serverNotOnHost') return undefined;
      throw error;
    }
  }

  private async carryOut(
    action: Exclude<Action, { kind: 'discard' }>,
    desired: DesiredServer,
    found: FoundGuest | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const tell = (fact: HostFact) => this.report(desired, fact);
    switch (action.kind) {
      case 'quarantine':
        return action.report && this.carryOut(action.report, desired, undefined, signal);
      case 'spawn':
        return this.spawn(desired, found, signal);
      case 'destroy':
      case 'release':
      case 'reportAbsent':
        return this.leave(action, desired, found, signal);
      case 'accept':
        return this.accept(desired, signal);
      case 'reportSpawned':
        return tell({ kind: 'spawned', power: found!.power, bootId: this.agent.bootId });
      case 'reportPower':
        return tell({ kind: 'powerChanged', power: found!.power, bootId: this.agent.bootId });
      case 'reportMissing':
        return tell({ kind: 'missing' });
      case 'failOperation': {
        const { generation, operation } = action;
        const reason = 'The guest is no longer on its host.';
        return tell({ kind: 'operationFailed', generation, operation, reason, unsupported: false, power: null });
      }
      case 'operate':
        return this.operate(action, desired, signal);
    }
  }

  private async spawn(desired: DesiredServer, found: FoundGuest | undefined, signal: AbortSignal): Promise<void> {
    const { serverId, attempt, adoption } = desired;
    const known = this.untold.get(serverId);
    if (!found && known?.attempt === attempt) {
      await this.report(desired, known.fact);
      return this.agent.again(serverId);
    }
    const leave = this.session.leaveFor({ kind: 'spawn', serverId, attempt }, signal);
    const failure = adoption
      ? await this.work.adopt(desired, adoption.nativeId, leave)
      : await this.work.spawn(desired, this.bootOf(desired), leave);
    // A driver whose spawn failed has left nothing; a guest that is there all the same keeps its place.
    if (failure !== null && (await this.look(serverId)))
      throw new HypervisorError('fault', `a guest of server ${serverId} is in the way of its spawn`, failure);
    // The network side is ours.
    if (failure !== null) await this.guestPorts.unplug(desired.portIds, leave);
    const begun = desired.arrival?.powerOn === false ? 'shutdown' : 'running';
    const power = adoption ? (await this.look(serverId))?.power : begun;
    const fact: HostFact =
      failure === null
        ? { kind: 'spawned', power: power ?? 'noState', bootId: this.agent.bootId }
        : { kind: 'spawnFailed', reason: failure };
    this.untold.set(serverId, { attempt, fact });
    await this.report(desired, fact);
  }

  private async leave(
    { kind }: ActionOf<'destroy' | 'release' | 'reportAbsent'>,
    desired: DesiredServer,
    found: FoundGuest | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { serverId, attempt, release, portIds } = desired;
    const leave = this.session.leaveFor({ kind: release ? 'release' : 'destroy', serverId, attempt }, signal);
    // The tombstone stands for older attempts too: the one that is here is named.
    if (kind === 'destroy') await this.work.destroy(serverId, found!.mark.attempt, leave);
    if (kind === 'release') await this.work.release(serverId, leave);
    const left = kind === 'reportAbsent' ? undefined : await this.look(serverId);
    if (left && left.mark.attempt === found?.mark.attempt)
      throw new HypervisorError('fault', `server ${serverId} was to go, and its guest is still there`);
    // A host may have several attempts, and shows one.
    if (left) return this.agent.again(serverId);
    await this.guestPorts.unplug(portIds, leave);
    await this.report(desired, { kind: 'absent' });
  }

  private async accept(desired: DesiredServer, signal: AbortSignal): Promise<void> {
    const { serverId, attempt } = desired;
    await this.session.leaveFor({ kind: 'spawn', serverId, attempt }, signal).step();
    try {
      await memberOf(this.ports.driver, 'liveMigration').accept(serverId);
    } catch (error) {
      // All of it was here once: what is not any more will not come.
      if (error instanceof HypervisorError && error.code === 'fault') return this.report(desired, { kind: 'missing' });
      throw error;
    }
    const { stage, power } = await this.ports.driver.inspect(serverId);
    if (stage === 'incoming') throw new HypervisorError('unavailable', 'the guest has come, and is not accepted');
    await this.report(desired, { kind: 'spawned', power, bootId: this.agent.bootId });
  }

  private async operate(
    { generation, operation }: ActionOf<'operate'>,
    desired: DesiredServer,
    signal: AbortSignal,
  ): Promise<void> {
    const { serverId, attempt } = desired;
    const about = { serverId, attempt, generation };
    const result = await this.operations.operate({
      desired,
      operation: desired.operation!,
      boot: this.bootOf(desired, generation),
      upload: (disk) => this.session.ask(hostBus.snapshotUpload, { ...about, ...(disk ? { disk } : {}) }),
      ticket: (offer) => this.session.ask(hostBus.migrationTicket, { ...about, offer }),
      leave: this.session.leaveFor({ kind: 'operate', ...about }, signal),
    });
    await this.report(
      desired,
      result.ok
        ? { kind: 'operationDone', generation, operation, power: result.power, bootId: this.agent.bootId }
        : { kind: 'operationFailed', generation, operation, ...result.failure },
    );
  }

  private async discard(serverId: ServerId, attempt: number, signal: AbortSignal): Promise<void> {
    await this.work.destroy(serverId, attempt, this.session.leaveFor({ kind: 'discard', serverId, attempt }, signal));
    this.desired.discarded(serverId);
    this.agent.discarded();
  }

  private bootOf({ serverId, attempt }: DesiredServer, generation?: number) {
    const imageFormats = [...this.ports.driver.imageFormats];
    const about = { serverId, attempt, ...(generation === undefined ? {} : { generation }) };
    return () => this.session.ask(hostBus.serverBoot, { ...about, imageFormats });
  }

  private async report(desired: DesiredServer, fact: HostFact): Promise<void> {
    const { serverId, attempt } = desired;
    const reply = await this.session.ask(hostBus.report, { serverId, attempt, fact });
    this.untold.delete(serverId);
    if (!reply.accepted) throw new NotAskedFor();
    this.desired.learn(desired, fact);
  }
}
