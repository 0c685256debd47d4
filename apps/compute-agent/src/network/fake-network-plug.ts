import type { GuestNic } from '../drivers/hypervisor-driver.js';
import type { InspectableNetworkPlug, NetworkPlan, PortPlug } from './network-plug.js';
import { guardOf } from './port-guard.js';

/** Networks of hosts that have none: remembers what it was asked for. */
export class FakeNetworkPlug implements InspectableNetworkPlug {
  readonly networks = new Map<string, NetworkPlan>();
  readonly ports = new Map<string, PortPlug>();

  async ensureNetworks(plans: readonly NetworkPlan[]): Promise<void> {
    for (const plan of plans) this.networks.set(plan.networkId, plan);
  }

  async plug(port: PortPlug): Promise<GuestNic> {
    this.ports.set(port.portId, port);
    return {
      portId: port.portId,
      mac: port.mac,
      mtu: port.mtu,
      model: null,
      attachment: { kind: 'tap', tap: `tap${port.portId.slice(0, 11)}`, netns: null },
      guard: guardOf(port),
    };
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
