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

/**
 * Settings of a network's namespace. A machine may have been booted without IPv6.
 * @throws Error when the network has IPv6 and the machine has not
 */
export const namespaceSettings = (hasIpv6: boolean, isThere = existsSync): readonly string[] => {
  const isOn = isThere('/proc/sys/net/ipv6');
  if (hasIpv6 && !isOn) throw new Error('the network has an IPv6 subnet, and this machine has IPv6 switched off');
  return [
    'net.ipv4.ip_forward=1',
    ...(isOn
      ? [
          'net.ipv6.conf.all.accept_ra=0',
          'net.ipv6.conf.default.accept_ra=0',
          // What a guest sends to its gateway and further is refused by an answer, not by silence.
          'net.ipv6.conf.all.forwarding=1',
          'net.ipv6.conf.all.accept_dad=0',
          'net.ipv6.conf.br0.accept_dad=0',
        ]
      : []),
    'net.bridge.bridge-nf-call-iptables=1',
    'net.bridge.bridge-nf-call-ip6tables=1',
    'net.bridge.bridge-nf-call-arptables=0',
  ];
};
