import type { hostBus } from '@omnivisor/contracts';
import { type GuestNic, HypervisorError, type NicAttachment } from '../drivers/hypervisor-driver.js';
import { GroupAddressBook } from './group-addresses.js';
import type { GroupMembers, NetworkPlan, NetworkPlug, PluggedPort, PortPlug } from './network-plug.js';
import { guardOf } from './port-guard.js';

/** Where a network lies for a driver; undefined when machines build it for themselves. */
const segmentOf = ({ provider }: NetworkPlan): NicAttachment | undefined =>
  provider && { kind: 'provider', ...provider };

/**
 * Networks of hypervisors that have switches of their own: the driver plugs and guards the ports, here is said where and
 * how. Nothing has to outlive the agent, as the driver's guests know their ports.
 */
export class SwitchNetworkPlug implements NetworkPlug {
  readonly networks = new Map<string, NetworkPlan>();
  readonly ports = new Map<string, { readonly port: PortPlug; readonly serverId: string }>();
  readonly groups = new GroupAddressBook();

  async ensure(plan: NetworkPlan): Promise<void> {
    this.networks.set(plan.networkId, plan);
  }

  async regroup(groups: readonly GroupMembers[]): Promise<void> {
    this.groups.take(groups);
  }

  async plug(port: PortPlug, serverId: string): Promise<GuestNic> {
    const attachment = this.attachmentOf(port, this.networks.get(port.networkId));
    this.ports.set(port.portId, { port, serverId });
    return {
      portId: port.portId,
      mac: port.mac,
      mtu: port.mtu,
      model: null,
      attachment,
      guard: guardOf(port, (group) => this.groups.addressesOf(group)),
    };
  }

  async unplug(portId: string): Promise<void> {
    this.ports.delete(portId);
  }

  async list(): Promise<PluggedPort[]> {
    return [...this.ports].map(([portId, { serverId }]) => ({ portId, serverId }));
  }

  async close(): Promise<void> {}

  /** @throws HypervisorError */
  protected attachmentOf({ networkId }: hostBus.PortPlug, plan: NetworkPlan | undefined): NicAttachment {
    if (!plan) throw new HypervisorError('unavailable', `nothing is known of network ${networkId} yet`);
    const segment = segmentOf(plan);
    if (!segment) throw new HypervisorError('unsupported', 'this host has no networks that are neither flat nor vlan');
    return segment;
  }
}
