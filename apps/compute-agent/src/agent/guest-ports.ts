import type { hostBus, ServerId } from '@omnivisor/contracts';
import { type GuestNic, HypervisorError, memberOf } from '../drivers/hypervisor-driver.js';
import type { Leave } from './leave.js';
import type { AgentPorts, PortPlug } from './ports.js';
import { reasonOf } from './reason.js';
import type { DesiredServer } from './reconcile.js';

/** Ports of servers on this host. Each step needs its leave, and ends where the work is given up. */
export class GuestPorts {
  /** Ports as they were last plugged, so that only what changed is touched. */
  private readonly plugged = new Map<string, string>();
  /** Ports that the driver guards, and the groups whose members it was told of. */
  private readonly guarded = new Map<string, { readonly serverId: ServerId; readonly groups: ReadonlySet<string> }>();

  constructor(private readonly ports: Pick<AgentPorts, 'driver' | 'network' | 'onError'>) {}

  async unplug(portIds: readonly string[], leave: Leave): Promise<void> {
    for (const portId of portIds) {
      await leave.step();
      this.plugged.delete(portId);
      this.guarded.delete(portId);
      await this.ports.network.unplug(portId);
    }
  }

  /** Members of groups have changed. @returns servers with ports that their hypervisor has to let others through to */
  regrouped(groups: readonly string[]): ServerId[] {
    const touched = new Set<ServerId>();
    for (const [portId, port] of this.guarded)
      if (groups.some((group) => port.groups.has(group))) {
        this.plugged.delete(portId);
        touched.add(port.serverId);
      }
    return [...touched];
  }

  /** True when ports of the server are not as the log wants them. */
  hasStalePorts({ ports }: DesiredServer): boolean {
    return ports.some((port) => this.plugged.get(port.portId) !== textOf(port));
  }

  /** Plugs what changed. One port that cannot be plugged does not keep the others back. */
  async refreshPorts({ ports, serverId, interfaces }: DesiredServer, leave: Leave): Promise<void> {
    const failures: unknown[] = [];
    for (const port of ports) {
      if (this.plugged.get(port.portId) === textOf(port)) continue;
      await leave.step();
      const isChanging = interfaces.some(({ portId }) => portId === port.portId);
      await (isChanging ? this.plug(port, serverId) : this.refresh(port, serverId)).catch((error) =>
        failures.push(error),
      );
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
      return { reason: reasonOf(error), unsupported: error.code === 'unsupported' };
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

  /** What may pass a port of a guest that is there. One that its hypervisor cannot guard so is cut off, not left open. */
  private async refresh(port: PortPlug, serverId: ServerId): Promise<void> {
    const nic = await this.plug(port, serverId);
    if (nic.attachment.kind === 'tap') return;
    const nics = memberOf(this.ports.driver, 'nics');
    try {
      await nics.attach(serverId, nic);
    } catch (error) {
      this.plugged.delete(port.portId);
      if (error instanceof HypervisorError && error.code === 'unsupported')
        await nics.cutOff(serverId, port.portId).catch((failed: unknown) => {
          throw new AggregateError([error, failed], 'a port that cannot be guarded any more was not cut off');
        });
      throw error;
    }
  }

  private async plug(port: PortPlug, serverId: ServerId): Promise<GuestNic> {
    const nic = await this.ports.network.plug(port, serverId);
    this.plugged.set(port.portId, textOf(port));
    if (nic.attachment.kind === 'provider') {
      const groups = new Set(port.rules.flatMap((rule) => rule.remoteGroup ?? []));
      this.guarded.set(port.portId, { serverId, groups });
    }
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
