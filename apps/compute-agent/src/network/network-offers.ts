import { networkNeeds, physicalNetworkTrait } from '@omnivisor/contracts';
import type { HypervisorDriver } from '../drivers/hypervisor-driver.js';

/** What a host can do for the networks of servers. */
export interface NetworkOffers {
  readonly physicalNetworks: readonly string[];
  readonly traits: readonly string[];
}

/** The network side of Linux guards every port; a driver that plugs ports itself says what it can do. */
const GUARDED = Object.values(networkNeeds).map(({ trait }) => trait);

/** @param bridges names of the physical networks that the network side reaches */
export const networkOffers = (
  driver: Pick<HypervisorDriver, 'physicalNetworks'>,
  bridges: readonly string[],
): NetworkOffers => {
  const physicalNetworks = driver.physicalNetworks ?? bridges;
  const reached = physicalNetworks.map(physicalNetworkTrait);
  return { physicalNetworks, traits: driver.physicalNetworks ? reached : [...GUARDED, ...reached] };
};
