import type { ProviderSegment } from '@omnivisor/contracts';
import { mtu as validMtu, vlanId } from '../../drivers/common/nft/values.js';
import type { Names } from './names.js';
import { run, succeeds } from './run.js';

/**
 * The way from a network's bridge to a physical network: a veth to the machine's own bridge, with the VLAN's tag put on
 * and off in the network's namespace. Nothing else of the machine is changed.
 */
export class Uplink {
  constructor(
    private readonly names: Names,
    /** Bridges by physical network. */
    private readonly bridges: Readonly<Record<string, string>>,
  ) {}

  async connect(networkId: string, netns: string, segment: ProviderSegment, mtu: number): Promise<void> {
    const { physicalNetwork, segmentationId } = segment;
    const bridge = Object.hasOwn(this.bridges, physicalNetwork) ? this.bridges[physicalNetwork] : undefined;
    if (bridge === undefined) throw new Error(`the physical network ${physicalNetwork} is mapped to no bridge here`);
    const device = this.names.uplink(networkId);
    const size = `${validMtu(mtu)}`;
    const inside = (...args: string[]) => run(['ip', '-n', netns, ...args]);
    if (!(await succeeds(['ip', '-n', netns, 'link', 'show', 'dev', 'uplink']))) {
      await succeeds(['ip', 'link', 'delete', 'dev', device]);
      await run(['ip', 'link', 'add', 'name', device, 'type', 'veth', 'peer', 'name', 'uplink', 'netns', netns]);
    }
    await run(['ip', 'link', 'set', 'dev', device, 'mtu', size, 'master', bridge, 'up']);
    await inside('link', 'set', 'dev', 'uplink', 'mtu', size, 'up');
    if (segmentationId === null) {
      await inside('link', 'set', 'dev', 'uplink', 'master', 'br0');
      return;
    }
    const tag = `${vlanId(segmentationId)}`;
    if (!(await succeeds(['ip', '-n', netns, 'link', 'show', 'dev', 'vlan'])))
      await inside('link', 'add', 'link', 'uplink', 'name', 'vlan', 'type', 'vlan', 'id', tag);
    await inside('link', 'set', 'dev', 'vlan', 'mtu', size, 'master', 'br0', 'up');
  }

  async disconnect(networkId: string): Promise<void> {
    await succeeds(['ip', 'link', 'delete', 'dev', this.names.uplink(networkId)]);
  }
}
