import type { NetworkPlan, PortPlug } from '../network-plug.js';
import { address, cidr, hostname, isV6, mac, mtu, netmask } from './values.js';

/** dnsmasq's own configuration for one network; a change of it needs a restart. */
export const dnsmasqConfiguration = (
  plan: NetworkPlan,
  files: { readonly hosts: string; readonly pid: string; readonly leases: string },
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
    'dhcp-lease-max=65536',
    `dhcp-option=26,${mtu(plan.mtu)}`,
    ...options.resolvers.map((r) => `server=${address(r)}`),
  ];
  for (const [index, subnet] of plan.subnets.entries()) {
    if (subnet.version !== 4 || !subnet.dhcp) continue;
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

/** The ports that DHCP knows: those that are plugged here, one line for each address; read again at SIGHUP. */
export const dnsmasqHosts = (plugs: readonly PortPlug[]): string =>
  plugs
    .flatMap((plug) =>
      plug.fixedIps
        .filter((ip) => !isV6(ip.address))
        .map((ip) => {
          const name = hostname(plug.hostname);
          return `${mac(plug.mac)},${address(ip.address)}${name === null ? '' : `,${name}`}\n`;
        }),
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
