import type { hostBus } from '@omnivisor/contracts';
import ipaddr from 'ipaddr.js';
import type { z } from 'zod';

type Plan = z.input<typeof hostBus.NetworkPlan>;

/** A port as `network_data.json` tells the guest of it. */
export interface GuestPort {
  readonly portId: string;
  readonly networkId: string;
  readonly mac: string;
  readonly mtu: number;
  /** In the order in which the port got them. */
  readonly addresses: readonly { readonly address: string; readonly subnet: Plan['subnets'][number] }[];
}

type Subnet = GuestPort['addresses'][number]['subnet'];

const linkId = ({ portId }: GuestPort) => `tap${portId.slice(0, 11)}`;
const dns = (servers: readonly string[]) => servers.map((address) => ({ type: 'dns', address }));

const maskOf = (cidr: string): string => {
  const [address, prefix] = ipaddr.parseCIDR(cidr);
  const kind = address.kind() === 'ipv6' ? ipaddr.IPv6 : ipaddr.IPv4;
  return kind.subnetMaskFromPrefixLength(prefix).toString();
};

const routesOf = ({ version, gateway, hostRoutes }: Subnet) => {
  const everything = version === 4 ? '0.0.0.0' : '::';
  return [
    ...(gateway === null ? [] : [{ network: everything, netmask: everything, gateway }]),
    ...hostRoutes.map(({ destination, nexthop }) => ({
      network: destination.split('/')[0],
      netmask: maskOf(destination),
      gateway: nexthop,
    })),
  ];
};

/** A guest that asks nobody gets all that it has to set. */
const networkOf = (port: GuestPort, { address, subnet }: GuestPort['addresses'][number], id: string) => {
  const { version, dhcp, ipv6AddressMode } = subnet;
  const common = { id, link: linkId(port), network_id: port.networkId };
  if (dhcp && ipv6AddressMode === null) return { ...common, type: `ipv${version}_dhcp` };
  return {
    ...common,
    type: `ipv${version}${ipv6AddressMode === null ? '' : `_${ipv6AddressMode}`}`,
    ip_address: address,
    netmask: maskOf(subnet.cidr),
    routes: routesOf(subnet),
    services: dns(subnet.dnsNameservers),
  };
};

/** `network_data.json`; source: Nova's `netutils`, format 2015-10-15. */
export const networkData = (ports: readonly GuestPort[]) => ({
  links: ports.map((p) => ({
    id: linkId(p),
    vif_id: p.portId,
    type: 'bridge',
    mtu: p.mtu,
    ethernet_mac_address: p.mac,
  })),
  networks: ports
    .flatMap((port) => port.addresses.map((address) => ({ port, address })))
    .map(({ port, address }, i) => networkOf(port, address, `network${i}`)),
  services: dns([...new Set(ports.flatMap((p) => p.addresses.flatMap((a) => a.subnet.dnsNameservers)))]),
});
