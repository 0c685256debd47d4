import { count } from '@omnivisor/platform';
import { z } from 'zod';
import { physicalNetworksTo } from '../common/endpoint-settings.js';
import { sshAddress } from '../common/ssh.js';
import { DOMAIN_TYPES } from './definition.js';
import { LocalShell, SshShell } from './host-shell.js';
import type { XenDriverOptions } from './xen.driver.js';

/** Names of Linux interfaces. */
const BRIDGE = /^[A-Za-z0-9][A-Za-z0-9_-]{0,14}$/;

/** Environment of an agent that drives Xen by `xl`. */
export const XenSettings = z.object({
  /** `local` in dom0, or `user@host:port` of it, by ssh. */
  OMNIVISOR_XEN_HOST: z
    .string()
    .default('local')
    .refine((text) => text === 'local' || sshAddress(text) !== null, 'is not local or user@host:port'),
  /** Private key and known hosts of ssh. */
  OMNIVISOR_XEN_KEY: z.string().default('/etc/omnivisor/xen_key'),
  OMNIVISOR_XEN_KNOWN_HOSTS: z.string().default('/etc/omnivisor/xen_known_hosts'),
  /** Folder of guests and images in dom0. */
  OMNIVISOR_XEN_ROOT: z
    .string()
    .default('/var/lib/omnivisor/xen')
    .refine(
      (path) => /^\/[\w.-]+(\/[\w.-]+)*$/.test(path) && !/\/\.\.?(\/|$)/.test(path),
      'is not a plain absolute path',
    ),
  /** Type of domains whose image does not say. */
  OMNIVISOR_XEN_TYPE: z.enum(DOMAIN_TYPES).default('pv'),
  /** Physical networks and the bridges of dom0 that they are, `physnet1=xenbr0,…`. */
  OMNIVISOR_XEN_BRIDGES: physicalNetworksTo('bridge').refine(
    (networks) => Object.values(networks).every((bridge) => BRIDGE.test(bridge)),
    'names no bridge',
  ),
  /** MiB that Xen keeps for itself, beside what dom0 has. */
  OMNIVISOR_XEN_RESERVED_MIB: count.default(256),
});
export type XenSettings = z.output<typeof XenSettings>;

/** @param patience times as long as usual that the host may take */
export const xenOptions = (settings: XenSettings, cloudId: string, patience = 1): XenDriverOptions => {
  const address = settings.OMNIVISOR_XEN_HOST === 'local' ? null : sshAddress(settings.OMNIVISOR_XEN_HOST);
  return {
    cloudId,
    patience,
    shell: address
      ? new SshShell({
          ...address,
          user: address.user ?? 'root',
          identityFile: settings.OMNIVISOR_XEN_KEY,
          knownHostsFile: settings.OMNIVISOR_XEN_KNOWN_HOSTS,
          patience,
        })
      : new LocalShell(),
    root: settings.OMNIVISOR_XEN_ROOT,
    type: settings.OMNIVISOR_XEN_TYPE,
    bridges: settings.OMNIVISOR_XEN_BRIDGES,
    reservedMemoryMib: settings.OMNIVISOR_XEN_RESERVED_MIB,
  };
};
