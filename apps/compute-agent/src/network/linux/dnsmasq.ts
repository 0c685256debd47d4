import ipaddr from 'ipaddr.js';
import {
  address,
  cidr,
  dhcpOption,
  hostname,
  isV6,
  line,
  mac,
  mtu,
  netmask,
  uuid,
} from '../../drivers/common/nft/values.js';
import type { NetworkPlan, PortPlug } from '../network-plug.js';

type Subnet = NetworkPlan['subnets'][number];

/** dnsmasq's own configuration for one network; a change of it needs a restart. */
export const dnsmasqConfiguration = (
  plan: NetworkPlan,
  files: { readonly hosts: string; readonly options: string; readonly pid: string; readonly leases: string },
  options: { readonly user: string; readonly resolvers: readonly string[] },
): string => {
  const lines = [
    'no-resolv',
    'no-hosts',
    'interface=br0',
    'except-interface=lo',
    'bind-interfaces',
    'dhcp-authoritative',
    'no-ping',
    'leasefile-ro',
    'quiet-dhcp',
    `user=${options.user}`,
    `pid-file=${files.pid}`,
    `dhcp-leasefile=${files.leases}`,
    `dhcp-hostsfile=${files.hosts}`,
    `dhcp-optsfile=${files.options}`,
    'dhcp-lease-max=65536',
    `dhcp-option=26,${mtu(plan.mtu)}`,
    // The same server for its clients after a restart.
    `dhcp-duid=${DOCUMENTATION},${uuid(plan.networkId).replaceAll('-', '').match(/../g)!.join(':')}`,
    // Nothing leads out of a network over IPv6 yet: a lifetime of 0 says that this is no default router.
    `ra-param=br0,mtu:${mtu(plan.mtu)},0,0`,
    ...options.resolvers.map((r) => `server=${address(r)}`),
  ];
  for (const [index, subnet] of plan.subnets.entries()) {
    if (!subnet.dhcp || subnet.serviceAddress === null) continue;
    if (subnet.version === 6) {
      lines.push(...linesOfV6(subnet, `subnet${index}`));
      continue;
    }
    const [base = '', prefix = ''] = cidr(subnet.cidr).split('/');
    const own = address(subnet.serviceAddress);
    const gateway = subnet.gateway === null ? null : address(subnet.gateway);
    const routes = [
      `169.254.169.254/32,${own}`,
      ...subnet.hostRoutes
        .filter((r) => !isV6(r.destination))
        .map((r) => `${cidr(r.destination)},${address(r.nexthop)}`),
      ...(gateway === null ? [] : [`0.0.0.0/0,${gateway}`]),
    ].join(',');
    const servers = subnet.dnsNameservers.filter((d) => !isV6(d)).map(address);
    const tag = `tag:subnet${index}`;
    lines.push(
      `dhcp-range=set:subnet${index},${base},static,${netmask(Number(prefix))},86400s`,
      gateway === null ? `dhcp-option=${tag},option:router` : `dhcp-option=${tag},option:router,${gateway}`,
      `dhcp-option=${tag},option:classless-static-route,${routes}`,
      `dhcp-option=${tag},option:dns-server,${servers.length > 0 ? servers.join(',') : own}`,
    );
  }
  return `${lines.join('\n')}\n`;
};

/** Enterprise number set aside for examples; a name of our own is not needed among the clients of one network. */
const DOCUMENTATION = 32473;

/** DHCPv6 hands out the addresses of these subnets; elsewhere guests make theirs from prefix and MAC. */
const isStateful = ({ version, dhcp, ipv6AddressMode, ipv6RaMode }: Subnet): boolean =>
  version === 6 && dhcp && (ipv6AddressMode === 'dhcpv6-stateful' || (ipv6AddressMode === null && ipv6RaMode === null));

const linesOfV6 = (subnet: Subnet, name: string): string[] => {
  const [base = '', prefix = ''] = cidr(subnet.cidr).split('/');
  const { ipv6AddressMode, ipv6RaMode } = subnet;
  // Without an RA mode a router of somebody else advertises the prefix; addresses by SLAAC need nothing of ours then.
  if (Number(prefix) < 64 || (ipv6RaMode === null && ipv6AddressMode === 'slaac')) return [];
  const advertised = { slaac: 'ra-only', 'dhcpv6-stateless': 'ra-stateless', 'dhcpv6-stateful': 'static' } as const;
  const servers = subnet.dnsNameservers.filter(isV6).map((server) => `[${address(server)}]`);
  return [
    `dhcp-range=set:${name},${base},${ipv6RaMode ? advertised[ipv6RaMode] : 'static'},${prefix},86400s`,
    ...(ipv6RaMode === 'dhcpv6-stateful' ? ['enable-ra'] : []),
    ...(servers.length > 0 ? [`dhcp-option=tag:${name},option6:dns-server,${servers.join(',')}`] : []),
  ];
};

/** The ports that DHCP knows: those that are plugged here, one line for each address; read again at SIGHUP. */
export const dnsmasqHosts = (plan: NetworkPlan, plugs: readonly PortPlug[]): string => {
  const stateful = plan.subnets.filter(isStateful).map((s) => ipaddr.parseCIDR(cidr(s.cidr)));
  const isServed = (text: string) => !isV6(text) || stateful.some((range) => ipaddr.parse(text).match(range));
  return plugs
    .flatMap((plug) => plug.fixedIps.map((ip) => ({ plug, own: address(ip.address) })))
    .filter(({ own }) => isServed(own))
    .map(({ plug, own }) => {
      const name = hostname(plug.hostname);
      const asked = optionsOf(plug, isV6(own) ? 6 : 4).length > 0 ? `,set:${uuid(plug.portId)}` : '';
      return `${mac(plug.mac)},${isV6(own) ? `[${own}]` : own}${asked}${name === null ? '' : `,${name}`}\n`;
    })
    .sort()
    .join('');
};

const optionsOf = ({ dhcpOptions }: PortPlug, version: 4 | 6) =>
  dhcpOptions.flatMap((option) => {
    const name = dhcpOption(option.name);
    return name === null || option.version !== version ? [] : [{ name, value: line(option.value) }];
  });

/** What single ports are told, one line for each option; read again at SIGHUP. What dnsmasq does not know it leaves out. */
export const dnsmasqOptions = (plugs: readonly PortPlug[]): string =>
  plugs
    .flatMap((plug) =>
      ([4, 6] as const).flatMap((version) =>
        optionsOf(plug, version).map(({ name, value }) => {
          const option = version === 6 ? `option6:${name}` : /^\d+$/.test(name) ? name : `option:${name}`;
          return `tag:${uuid(plug.portId)},${option}${value === '' ? '' : `,${value}`}\n`;
        }),
      ),
    )
    .sort()
    .join('');

/** True when an address has passed from one MAC to another: dnsmasq still holds the old lease then. */
export const addressesChangedHands = (before: string, after: string): boolean => {
  const holders = (text: string) =>
    new Map(
      text.split('\n').flatMap((line) => (line === '' ? [] : [[line.split(',')[1], line.split(',')[0]] as const])),
    );
  const old = holders(before);
  for (const [ip, holder] of holders(after)) if (old.has(ip) && old.get(ip) !== holder) return true;
  return false;
};

/** Nameservers of this machine that a network can reach: those not on a loopback address. */
export const reachableResolvers = (resolvConf: string): string[] =>
  resolvConf
    .split('\n')
    .flatMap((line) => /^nameserver\s+(\d+\.\d+\.\d+\.\d+)\s*$/.exec(line)?.[1] ?? [])
    .filter((a) => !a.startsWith('127.'));
