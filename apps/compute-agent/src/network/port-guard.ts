import type { PortGuard } from '../drivers/hypervisor-driver.js';
import type { PortPlug } from './network-plug.js';

/** What may pass a port, for hypervisors that enforce it themselves; null when port security is off. */
export const guardOf = ({ portSecurity, mac, fixedIps, allowedPairs, rules }: PortPlug): PortGuard | null =>
  portSecurity
    ? {
        addresses: [
          ...fixedIps.map(({ address }) => ({ mac, ip: address })),
          ...allowedPairs.map((pair) => ({ mac: pair.mac, ip: pair.address })),
        ],
        rules,
      }
    : null;
