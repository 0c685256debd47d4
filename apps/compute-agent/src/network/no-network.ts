import type { NetworkPlug } from '../agent/ports.js';

/** For hypervisors without a data plane (the fake one): ports are accepted and go nowhere. */
export const noNetwork: NetworkPlug = {
  ensureNetworks: async () => {},
  plug: async ({ portId, mac, mtu }) => ({
    portId,
    mac,
    mtu,
    tap: `tap${portId.slice(0, 11)}`,
    netns: null,
    model: null,
  }),
  unplug: async () => {},
  close: async () => {},
};
