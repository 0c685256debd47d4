import { at, type Backend, hostBus } from '@omnivisor/contracts';
import type { Bus } from '@omnivisor/platform/ports';
import type { NetworkPlug } from '../agent/ports.js';
import type { AgentConfig } from '../config.js';
import { FakeNetworkPlug, LinuxNetworkPlug } from './index.js';

/**
 * The data plane that fits a backend on this host. What a guest asks 169.254.169.254 goes to the gateway with the network
 * and the source address, and nothing added.
 */
export const openNetwork = async (config: AgentConfig, backend: Backend, bus: Bus): Promise<NetworkPlug> => {
  if (backend === 'fake') return new FakeNetworkPlug();
  const hostId = config.OMNIVISOR_HOST_ID;
  return LinuxNetworkPlug.open({
    cloudId: config.OMNIVISOR_CLOUD_ID,
    agent: hostId,
    outsidePool: config.OMNIVISOR_OUTSIDE_POOL,
    onMetadata: (networkId, sourceAddress, path) =>
      bus.request(
        hostBus.metadata,
        { networkId: networkId as never, sourceAddress, path },
        at(hostBus.metadata, hostId),
      ),
  });
};
