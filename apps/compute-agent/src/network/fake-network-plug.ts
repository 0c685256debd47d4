import type { GuestNic } from '../drivers/hypervisor-driver.js';
import type { GroupMembers, InspectableNetworkPlug, NetworkPlan, PortPlug } from './network-plug.js';

/** Networks of hosts that have none: remembers what it was asked for. */
export class FakeNetworkPlug implements InspectableNetworkPlug {
  readonly networks = new Map<string, NetworkPlan>();
  readonly ports = new Map<string, PortPlug>();
  /** Addresses by group and port. */
  readonly groups = new Map<string, Map<string, readonly string[]>>();

  async ensureNetworks(plans: readonly NetworkPlan[]): Promise<void> {
    for (const plan of plans) this.networks.set(plan.networkId, plan);
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

  async plug(port: PortPlug): Promise<GuestNic> {
    this.ports.set(port.portId, port);
    const tap = `tap${port.portId.slice(0, 11)}`;
    return { portId: port.portId, mac: port.mac, mtu: port.mtu, tap, netns: null, model: null };
  }

  async unplug(portId: string): Promise<void> {
    this.ports.delete(portId);
  }

  async list(): Promise<string[]> {
    return [...this.ports.keys()];
  }

  reach(): readonly string[] {
    return [];
  }

  async close(): Promise<void> {}
}
