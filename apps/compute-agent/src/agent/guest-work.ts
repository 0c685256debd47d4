import type { hostBus, Milliseconds, PowerOperation, PowerState, ServerId } from '@omnivisor/contracts';
import { DomainError } from '@omnivisor/contracts';
import type { z } from 'zod';
import { type GuestNic, HypervisorError } from '../drivers/hypervisor-driver.js';
import { imageSource } from '../images/image-source.js';
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

type Boot = z.output<typeof hostBus.serverBoot.reply>;

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
      const { driver, images, cloudId } = this.ports;
      const { flavor } = desired;
      const given = await boot();
      if (!given) throw new NotAskedFor();
      leave.given();
      // Bytes that cannot be had now are asked for before anything is made.
      await images.path(desired.image, given.imageUrl, signal);
      try {
        const nics = await this.plugAll(desired, leave);
        await leave.step();
        await driver.spawn(
          {
            mark: { cloudId, serverId: desired.serverId, attempt: desired.attempt, build: 0 },
            name: desired.name,
            flavor,
            image: desired.image,
            disks: {
              root: { source: imageSource(images, desired.image, given.imageUrl), size: flavor.disk },
              ephemeral: flavor.ephemeral > 0 ? { size: flavor.ephemeral, source: null } : null,
              swap: flavor.swap,
            },
            directBoot: null,
            powerOn: true,
            nics,
            configDrive:
              given.configDrive &&
              new Map(Object.entries(given.configDrive).map(([path, text]) => [path, Buffer.from(text, 'base64')])),
          },
          signal,
        );
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

  async operate(desired: DesiredServer, operation: PowerOperation, leave: Leave): Promise<OperationResult> {
    const { driver } = this.ports;
    const { signal } = leave;
    const id = desired.serverId;
    try {
      const nics = operation === 'start' || operation.endsWith('Reboot') ? await this.plugAll(desired, leave) : [];
      await leave.step();
      switch (operation) {
        case 'start':
          await driver.powerOn(id, nics, signal);
          break;
        case 'stop':
          await driver.powerOff(id, this.grace, signal);
          break;
        case 'softReboot':
          await driver.reboot(id, 'soft', nics, signal);
          break;
        case 'hardReboot':
          await driver.reboot(id, 'hard', nics, signal);
          break;
        case 'pause':
        case 'unpause':
          if (!driver.pausing) throw new HypervisorError('unsupported', `${driver.backend} cannot ${operation}`);
          await driver.pausing[operation](id);
      }
      signal.throwIfAborted();
      return { ok: true, power: (await driver.inspect(id)).power };
    } catch (error) {
      if (signal.aborted || !(error instanceof HypervisorError) || error.code === 'unavailable') throw error;
      this.ports.onError(`${operation} of server ${id}`, error);
      return {
        ok: false,
        failure: {
          reason: 'The hypervisor could not do it.',
          unsupported: error.code === 'unsupported',
          power: await driver.inspect(id).then(
            (g) => g.power,
            () => null,
          ),
        },
      };
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

const texts = new WeakMap<PortPlug, string>();
/** Made once for each port of an answer: all of them are compared in each round. */
const textOf = (port: PortPlug): string => {
  const known = texts.get(port);
  if (known !== undefined) return known;
  const text = JSON.stringify(port);
  texts.set(port, text);
  return text;
};
