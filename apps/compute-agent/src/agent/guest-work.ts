import type { hostBus, Milliseconds, PowerOperation, PowerState, ServerId } from '@omnivisor/contracts';
import { DomainError } from '@omnivisor/contracts';
import type { z } from 'zod';
import { type GuestNic, HypervisorError } from '../drivers/hypervisor-driver.js';
import { imageSource } from '../images/image-source.js';
import type { AgentPorts } from './ports.js';
import type { DesiredServer } from './reconcile.js';
import { Semaphore } from './semaphore.js';

export type OperationResult =
  | { readonly ok: true; readonly power: PowerState }
  | {
      readonly ok: false;
      readonly failure: { readonly reason: string; readonly unsupported: boolean; readonly power: PowerState | null };
    };

/** What is done to guests: driver and network together. */
export class GuestWork {
  private readonly spawning: Semaphore;

  constructor(
    private readonly ports: AgentPorts,
    private readonly grace: Milliseconds,
    spawns: number,
  ) {
    this.spawning = new Semaphore(spawns);
  }

  /**
   * Makes the guest of an attempt.
   * @returns null when it runs; otherwise why it cannot, and nothing of it is left
   * @throws what another try may mend: image bytes or a hypervisor that cannot be reached now
   */
  async spawn(
    desired: DesiredServer,
    cloudId: string,
    boot: z.output<typeof hostBus.serverBoot.reply>,
    signal: AbortSignal,
  ): Promise<string | null> {
    return this.spawning.use(async () => {
      const { driver, images, network } = this.ports;
      const { flavor } = desired;
      // Bytes that cannot be had now are asked for before anything is made.
      await images.path(desired.image, boot.imageUrl, signal);
      try {
        const nics: GuestNic[] = [];
        for (const port of desired.ports) nics.push(await network.plug(port));
        await driver.spawn(
          {
            mark: { cloudId, serverId: desired.serverId, attempt: desired.attempt, build: 0 },
            name: desired.name,
            flavor,
            image: desired.image,
            disks: {
              root: { source: imageSource(images, desired.image, boot.imageUrl), size: flavor.disk },
              ephemeral: flavor.ephemeral > 0 ? { size: flavor.ephemeral, source: null } : null,
              swap: flavor.swap,
            },
            directBoot: null,
            powerOn: true,
            nics,
            configDrive:
              boot.configDrive &&
              new Map(Object.entries(boot.configDrive).map(([path, text]) => [path, Buffer.from(text, 'base64')])),
          },
          signal,
        );
        return null;
      } catch (error) {
        if (error instanceof DomainError && error.kind === 'unavailable') throw error;
        if (error instanceof HypervisorError && error.code === 'unavailable') throw error;
        this.ports.onError(`spawning server ${desired.serverId}`, error);
        // A driver whose spawn failed has left nothing; the network side is ours.
        await this.unplug(desired);
        const code = error instanceof HypervisorError ? error.code : 'fault';
        if (code === 'noResources') return 'The host has no room for it.';
        return code === 'unsupported'
          ? 'The hypervisor does not support what its image or flavor asks for.'
          : 'The hypervisor could not start it.';
      }
    });
  }

  async destroy(id: ServerId): Promise<void> {
    await this.ports.driver.destroy(id);
  }

  async unplug(desired: DesiredServer): Promise<void> {
    for (const portId of desired.portIds) await this.ports.network.unplug(portId);
  }

  async operate(desired: DesiredServer, operation: PowerOperation): Promise<OperationResult> {
    const { driver } = this.ports;
    const id = desired.serverId;
    try {
      switch (operation) {
        case 'start':
          await driver.powerOn(id, await this.nics(desired));
          break;
        case 'stop':
          await driver.powerOff(id, this.grace);
          break;
        case 'softReboot':
          await driver.reboot(id, 'soft', await this.nics(desired));
          break;
        case 'hardReboot':
          await driver.reboot(id, 'hard', await this.nics(desired));
          break;
        case 'pause':
        case 'unpause':
          if (!driver.pausing) throw new HypervisorError('unsupported', `${driver.backend} cannot ${operation}`);
          await driver.pausing[operation](id);
      }
      return { ok: true, power: (await driver.inspect(id)).power };
    } catch (error) {
      if (!(error instanceof HypervisorError) || error.code === 'unavailable') throw error;
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

  private async nics(desired: DesiredServer): Promise<GuestNic[]> {
    const nics: GuestNic[] = [];
    for (const port of desired.ports) nics.push(await this.ports.network.plug(port));
    return nics;
  }
}
