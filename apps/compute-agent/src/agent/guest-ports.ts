import type { hostBus, ServerId } from '@omnivisor/contracts';
import { type GuestNic, HypervisorError, memberOf } from '../drivers/hypervisor-driver.js';
import type { Leave } from './leave.js';
import type { AgentPorts, PortPlug } from './ports.js';
import type { DesiredServer } from './reconcile.js';

/** Ports of servers on this host. Each step needs its leave, and ends where the work is given up. */
export class GuestPorts {
  /** Ports as they were last plugged, so that only what changed is touched. */
  private readonly plugged = new Map<string, string>();

  constructor(private readonly ports: Pick<AgentPorts, 'driver' | 'network' | 'onError'>) {}

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
      const nics = memberOf(driver, 'nics');
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

  /** Makes the network devices that a guest is started with; a boot of the host has taken them away. */
  async plugAll(desired: DesiredServer, leave: Leave): Promise<GuestNic[]> {
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
