import type { GuestNic } from '../drivers/hypervisor-driver.js';
import type { InspectableNetworkPlug, NetworkPlan, PluggedPort, PortPlug } from './network-plug.js';

/** Networks of hosts that have none: remembers what it was asked for. */
export class FakeNetworkPlug implements InspectableNetworkPlug {
  readonly networks = new Map<string, NetworkPlan>();
  readonly ports = new Map<string, { readonly port: PortPlug; readonly serverId: string }>();
  /** Ids of ports and networks that cannot be made now. */
  readonly broken = new Set<string>();

  async ensure(plan: NetworkPlan): Promise<void> {
    this.refuse(plan.networkId);
    this.networks.set(plan.networkId, plan);
  }

  async plug(port: PortPlug, serverId: string): Promise<GuestNic> {
    this.refuse(port.portId);
    this.ports.set(port.portId, { port, serverId });
    const tap = `tap${port.portId.slice(0, 11)}`;
    return { portId: port.portId, mac: port.mac, mtu: port.mtu, tap, netns: null, model: null };
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
