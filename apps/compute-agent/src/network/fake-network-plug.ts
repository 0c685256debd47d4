import type { GuestNic } from '../drivers/hypervisor-driver.js';
import type { GroupMembers, InspectableNetworkPlug, NetworkPlan, PluggedPort, PortPlug } from './network-plug.js';
import { guardOf } from './port-guard.js';

/** Networks of hosts that have none: remembers what it was asked for. */
export class FakeNetworkPlug implements InspectableNetworkPlug {
  readonly networks = new Map<string, NetworkPlan>();
  readonly ports = new Map<string, { readonly port: PortPlug; readonly serverId: string }>();
  /** Addresses by group and port. */
  readonly groups = new Map<string, Map<string, readonly string[]>>();
  /** Ids of ports and networks that cannot be made now. */
  readonly broken = new Set<string>();

  async ensure(plan: NetworkPlan): Promise<void> {
    this.refuse(plan.networkId);
    this.networks.set(plan.networkId, plan);
  }

  async regroup(groups: readonly GroupMembers[]): Promise<void> {
    for (const { securityGroupId, whole, members } of groups) {
      const known = (!whole && this.groups.get(securityGroupId)) || new Map<string, readonly string[]>();
      for (const { portId, addresses } of members)
        if (addresses.length === 0) known.delete(portId);
        else known.set(portId, addresses);
      this.groups.set(securityGroupId, known);
    }
  }

  async plug(port: PortPlug, serverId: string): Promise<GuestNic> {
    this.refuse(port.portId);
    this.ports.set(port.portId, { port, serverId });
    return {
      portId: port.portId,
      mac: port.mac,
      mtu: port.mtu,
      model: null,
      attachment: { kind: 'tap', tap: `tap${port.portId.slice(0, 11)}`, netns: null },
      guard: guardOf(port, (group) => [...(this.groups.get(group)?.values() ?? [])].flat()),
    };
  }

  async unplug(portId: string): Promise<void> {
    this.ports.delete(portId);
  }

  async list(): Promise<PluggedPort[]> {
    return [...this.ports].map(([portId, { serverId }]) => ({ portId, serverId }));
  }

  reach(): readonly string[] {
    return [];
  }

  async close(): Promise<void> {}

  private refuse(id: string): void {
    if (this.broken.has(id)) throw new Error(`${id} is broken on demand`);
  }
}
