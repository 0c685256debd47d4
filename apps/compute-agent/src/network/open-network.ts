import { at, hostBus } from '@omnivisor/contracts';
import type { Bus } from '@omnivisor/platform/ports';
import type { NetworkPlug } from '../agent/ports.js';
import type { AgentConfig } from '../config.js';
import type { HypervisorDriver } from '../drivers/hypervisor-driver.js';
import { FakeNetworkPlug, LinuxNetworkPlug } from './index.js';
import { SwitchNetworkPlug } from './switch-network-plug.js';

/**
 * The data plane that fits a driver on this host. What a guest asks 169.254.169.254 goes to the gateway with the network
 * and the source address, and nothing added.
 */
export const openNetwork = async (
  config: AgentConfig,
  driver: Pick<HypervisorDriver, 'backend' | 'physicalNetworks'>,
  bus: Bus,
): Promise<NetworkPlug> => {
  if (driver.backend === 'fake') return new FakeNetworkPlug();
  if (driver.physicalNetworks) return new SwitchNetworkPlug();
  const hostId = config.OMNIVISOR_HOST_ID;
  return LinuxNetworkPlug.open({
    cloudId: config.OMNIVISOR_CLOUD_ID,
    agent: hostId,
    outsidePool: config.OMNIVISOR_OUTSIDE_POOL,
    bridges: config.OMNIVISOR_BRIDGES,
    onMetadata: (networkId, sourceAddress, path) =>
      bus.request(
        hostBus.metadata,
        { networkId: networkId as never, sourceAddress, path },
        at(hostBus.metadata, hostId),
      ),
  });
};
