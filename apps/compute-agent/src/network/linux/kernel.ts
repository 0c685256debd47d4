import { existsSync } from 'node:fs';
import { run } from './run.js';

/** What a distribution's kernel keeps in modules: a file by which to see that it is there, and the module. */
const MODULES = [
  ['/proc/sys/net/bridge', 'br_netfilter'],
  ['/dev/net/tun', 'tun'],
] as const;

/** @throws ToolFailed when the kernel has not what networks need, and it cannot be loaded */
export const loadModules = async (isThere = existsSync, load = run): Promise<void> => {
  for (const [file, module] of MODULES) if (!isThere(file)) await load(['modprobe', module]);
};

/** Settings of a network's namespace. A machine may have been booted without IPv6. */
export const namespaceSettings = (isThere = existsSync): readonly string[] => [
  'net.ipv4.ip_forward=1',
  ...(isThere('/proc/sys/net/ipv6') ? ['net.ipv6.conf.all.accept_ra=0', 'net.ipv6.conf.default.accept_ra=0'] : []),
  'net.bridge.bridge-nf-call-iptables=1',
  'net.bridge.bridge-nf-call-ip6tables=1',
  'net.bridge.bridge-nf-call-arptables=0',
];
