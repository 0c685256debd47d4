import type { HostRow } from './host.projection.js';

/**
 * Where a host takes running guests from other machines. It speaks for its own machine only: an address that a host of
 * another one says is its own is nobody's.
 */
export const migrationAddressOf = (
  hosts: readonly Pick<HostRow, 'id' | 'facts'>[],
  hostId: string,
): string | undefined => {
  const own = hosts.find(({ id }) => id === hostId)?.facts;
  const address = own?.migrationAddress;
  const isTaken = hosts.some(
    ({ facts }) =>
      facts && facts.machineId !== own?.machineId && [facts.migrationAddress, facts.hostIp].includes(address),
  );
  return isTaken ? undefined : address;
};
