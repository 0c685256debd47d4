import type { GuestNic, NicAttachment } from '../drivers/hypervisor-driver.js';
import type { InspectableNetworkPlug, NetworkPlan, PortPlug } from './network-plug.js';
import { SwitchNetworkPlug } from './switch-network-plug.js';

/** Networks of hosts that have none: remembers what it was asked for. */
export class FakeNetworkPlug extends SwitchNetworkPlug implements InspectableNetworkPlug {
  /** Ids of ports and networks that cannot be made now. */
  readonly broken = new Set<string>();

  override async ensure(plan: NetworkPlan): Promise<void> {
    this.refuse(plan.networkId);
    await super.ensure(plan);
  }

  override async plug(port: PortPlug, serverId: string): Promise<GuestNic> {
    this.refuse(port.portId);
    return super.plug(port, serverId);
  }

  reach(): readonly string[] {
    return [];
  }

  protected override attachmentOf(port: PortPlug, plan: NetworkPlan | undefined): NicAttachment {
    return plan?.provider
      ? super.attachmentOf(port, plan)
      : { kind: 'tap', tap: `tap${port.portId.slice(0, 11)}`, netns: null };
  }

  private refuse(id: string): void {
    if (this.broken.has(id)) throw new Error(`${id} is broken on demand`);
  }
}
