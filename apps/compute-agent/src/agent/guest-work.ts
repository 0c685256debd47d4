import {
  DomainError,
  type hostBus,
  type ImageSnapshot,
  type Milliseconds,
  type PowerOperation,
  type PowerState,
  type ServerId,
  type ServerOperation,
} from '@omnivisor/contracts';
import { type GuestNic, type HypervisorDriver, HypervisorError } from '../drivers/hypervisor-driver.js';
import { type Boot, guestSpec } from './guest-spec.js';
import type { Leave } from './leave.js';
import type { AgentPorts, PortPlug } from './ports.js';
import type { DesiredServer } from './reconcile.js';
import { Semaphore } from './semaphore.js';
import { NotAskedFor } from './session.js';

export type OperationResult =
  | { readonly ok: true; readonly power: PowerState }
  | {
      readonly ok: false;
      readonly failure: { readonly reason: string; readonly unsupported: boolean; readonly power: PowerState | null };
    };

type Operation = NonNullable<DesiredServer['operation']>;

/**
 * What is done to guests: driver and network together. Each step needs its leave, and ends where the work is given up.
 */
export class GuestWork {
  private readonly spawning: Semaphore;
  /** Ports as they were last plugged, so that only what changed is touched. */
  private readonly plugged = new Map<string, string>();

  constructor(
    private readonly ports: AgentPorts,
    private readonly grace: Milliseconds,
    spawns: number,
  ) {
    this.spawning = new Semaphore(spawns);
  }

  /**
   * Makes the guest of an attempt.
   * @param boot asks for what the spawn needs; null when the log does not ask for it any more
   * @returns null when it runs; otherwise why it cannot, and nothing of it is left but its ports
   * @throws what another try may mend: image bytes or a hypervisor that cannot be reached now
   */
  async spawn(desired: DesiredServer, boot: () => Promise<Boot>, leave: Leave): Promise<string | null> {
    const { signal } = leave;
    return this.spawning.use(async () => {
      const given = await this.bytesOf(desired.image, boot, leave);
      try {
        const spec = guestSpec(this.ports, desired, desired.image, given);
        const nics = await this.plugAll(desired, leave);
        await leave.step();
        await this.ports.driver.spawn({ ...spec, nics }, signal);
        return null;
      } catch (error) {
        if (signal.aborted || error instanceof NotAskedFor) throw error;
        if (error instanceof DomainError && error.kind === 'unavailable') throw error;
        if (error instanceof HypervisorError && error.code === 'unavailable') throw error;
        this.ports.onError(`spawning server ${desired.serverId}`, error);
        const code = error instanceof HypervisorError ? error.code : 'fault';
        if (code === 'noResources') return 'The host has no room for it.';
        return code === 'unsupported'
          ? 'The hypervisor does not support what its image or flavor asks for.'
          : 'The hypervisor could not start it.';
      }
    }, signal);
  }

  async destroy(id: ServerId, leave: Leave): Promise<void> {
    await leave.step();
    await this.ports.driver.destroy(id);
  }

  async unplug(portIds: readonly string[], leave: Leave): Promise<void> {
    for (const portId of portIds) {
      await leave.step();
      this.plugged.delete(portId);
      await this.ports.network.unplug(portId);
    }
  }

  /** True when ports of the server are not as the log wants them. */
  hasStalePorts({ ports }: DesiredServer): boolean {
    return ports.some((port) => this.plugged.get(port.portId) !== textOf(port));
  }

  /** Plugs what changed. One port that cannot be plugged does not keep the others back. */
  async refreshPorts({ ports, serverId }: DesiredServer, leave: Leave): Promise<void> {
    const failures: unknown[] = [];
    for (const port of ports) {
      if (this.plugged.get(port.portId) === textOf(port)) continue;
      await leave.step();
      await this.plug(port, serverId).catch((error) => failures.push(error));
    }
    if (failures.length > 0) throw failures.length === 1 ? failures[0] : new AggregateError(failures, 'plugging ports');
  }

  /**
   * @param boot asks for what an operation needs that makes disks; null when the log does not ask for it any more
   * @throws what another try may mend
   */
  async operate(desired: DesiredServer, operation: Operation, boot: () => Promise<Boot>, leave: Leave) {
    const { driver } = this.ports;
    const { kind } = operation;
    const { signal } = leave;
    const id = desired.serverId;
    try {
      if (needsBytes(kind)) await this.spawning.use(() => this.makeAnew(desired, operation, boot, leave), signal);
      else await this.changePower(desired, kind, leave);
      signal.throwIfAborted();
      return { ok: true, power: (await driver.inspect(id)).power } satisfies OperationResult;
    } catch (error) {
      if (signal.aborted || !isFinal(error)) throw error;
      this.ports.onError(`${kind} of server ${id}`, error);
      return {
        ok: false,
        failure: {
          reason: 'The hypervisor could not do it.',
          unsupported: error instanceof HypervisorError && error.code === 'unsupported',
          power: await driver.inspect(id).then(
            (g) => g.power,
            () => null,
          ),
        },
      } satisfies OperationResult;
    }
  }

  private async changePower(desired: DesiredServer, kind: PowerOperation, leave: Leave): Promise<void> {
    const { driver } = this.ports;
    const { signal } = leave;
    const id = desired.serverId;
    const nics = bringsUp(kind) ? await this.plugAll(desired, leave) : [];
    await leave.step();
    switch (kind) {
      case 'start':
        return driver.powerOn(id, nics, signal);
      case 'stop':
        return driver.powerOff(id, this.grace, signal);
      case 'softReboot':
        return driver.reboot(id, 'soft', nics, signal);
      case 'hardReboot':
        return driver.reboot(id, 'hard', nics, signal);
      case 'pause':
      case 'unpause':
        return member(driver, 'pausing', kind)[kind](id);
      case 'suspend':
        return member(driver, 'suspending', kind).suspend(id);
      case 'resume':
        return member(driver, 'suspending', kind).resume(id, nics);
    }
  }

  /** Disks from an image, for a guest that is there. */
  private async makeAnew(desired: DesiredServer, operation: Operation, boot: () => Promise<Boot>, leave: Leave) {
    const rebuilding = member(this.ports.driver, 'rebuilding', operation.kind);
    const given = await this.bytesOf(desired.image, boot, leave);
    const spec = guestSpec(this.ports, desired, desired.image, given);
    const nics = await this.plugAll(desired, leave);
    await leave.step();
    const mark = { ...spec.mark, build: operation.generation };
    await rebuilding.rebuild({ ...spec, mark, nics, powerOn: operation.powerOn !== false }, leave.signal);
  }

  /** What the log gives for the work, once the image's bytes are here: they are asked for before anything is made. */
  private async bytesOf(image: ImageSnapshot, boot: () => Promise<Boot>, leave: Leave): Promise<NonNullable<Boot>> {
    const given = await boot();
    if (!given) throw new NotAskedFor();
    leave.given();
    await this.ports.images.path(image, given.imageUrl, leave.signal);
    return given;
  }

  /**
   * Gives the guest an interface, or takes one from it and unplugs its port.
   * @returns null when that is done
   * @throws what another try may mend, as a guest that does not let go yet
   */
  async changeInterface(
    desired: DesiredServer,
    portId: string,
    change: hostBus.InterfaceChange,
    leave: Leave,
  ): Promise<{ readonly reason: string; readonly unsupported: boolean } | null> {
    const { driver } = this.ports;
    const id = desired.serverId;
    try {
      const nics = member(driver, 'nics', change);
      await leave.step();
      if (change === 'detach') {
        await nics.detach(id, portId);
        await this.unplug([portId], leave);
        return null;
      }
      const port = desired.ports.find((known) => known.portId === portId);
      if (!port) throw new HypervisorError('unavailable', `nothing is known of port ${portId} yet`);
      await nics.attach(id, await this.plug(port, id));
      return null;
    } catch (error) {
      if (leave.signal.aborted || !(error instanceof HypervisorError) || error.code === 'unavailable') throw error;
      this.ports.onError(`${change} of an interface of server ${id}`, error);
      return { reason: 'The hypervisor could not do it.', unsupported: error.code === 'unsupported' };
    }
  }

  private async plugAll(desired: DesiredServer, leave: Leave): Promise<GuestNic[]> {
    const nics: GuestNic[] = [];
    for (const port of desired.ports) {
      await leave.step();
      nics.push(await this.plug(port, desired.serverId));
    }
    return nics;
  }

  private async plug(port: PortPlug, serverId: ServerId): Promise<GuestNic> {
    const nic = await this.ports.network.plug(port, serverId);
    this.plugged.set(port.portId, textOf(port));
    return nic;
  }
}

const needsBytes = (kind: ServerOperation): kind is Exclude<ServerOperation, PowerOperation> => kind === 'rebuild';

/** Another try will not mend it. */
const isFinal = (error: unknown): boolean =>
  error instanceof HypervisorError
    ? error.code !== 'unavailable'
    : error instanceof DomainError && FINAL.has(error.kind);
/** What the control plane says of an image that cannot be had in any form. */
const FINAL: ReadonlySet<string> = new Set(['notFound', 'unsupported']);

/** What starts a guest needs its network devices, which a boot of the host has taken away. */
const bringsUp = (operation: PowerOperation): boolean =>
  operation === 'start' || operation === 'resume' || operation.endsWith('Reboot');

const member = <M extends keyof HypervisorDriver>(driver: HypervisorDriver, name: M, operation: string) => {
  const present = driver[name];
  if (!present) throw new HypervisorError('unsupported', `${driver.backend} cannot ${operation}`);
  return present;
};

const texts = new WeakMap<PortPlug, string>();
/** Made once for each port of an answer: all of them are compared in each round. */
const textOf = (port: PortPlug): string => {
  const known = texts.get(port);
  if (known !== undefined) return known;
  const text = JSON.stringify(port);
  texts.set(port, text);
  return text;
};
