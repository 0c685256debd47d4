import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import {
  commaList,
  fingerprintList,
  isEndpointAddress,
  optionalText,
  physicalNetworksTo,
  trustOf,
} from '../common/endpoint-settings.js';
import type { XenServerOptions } from './xenserver.driver.js';

/** Environment of an agent that drives a pool of XenServer or XCP-ng. */
export const XenServerSettings = z.object({
  /** Members of the pool, `https://address,…`: any of them leads to the master. */
  OMNIVISOR_XENSERVER_URLS: commaList.pipe(z.array(z.string().refine(isEndpointAddress, 'is not https://address'))),
  OMNIVISOR_XENSERVER_USER: z.string().default('omnivisor'),
  OMNIVISOR_XENSERVER_PASSWORD_FILE: z.string().default('/etc/omnivisor/xenserver_password'),
  /** Authorities that sign the members' certificates, PEM; the system's when neither this nor fingerprints are given. */
  OMNIVISOR_XENSERVER_CA_FILE: optionalText,
  /** SHA-256 of each member's certificate: then these are trusted and no others. */
  OMNIVISOR_XENSERVER_FINGERPRINTS: fingerprintList,
  /** UUID, name or address of the member that is the host; the whole pool is one host when not given. Never change it. */
  OMNIVISOR_XENSERVER_MEMBER: optionalText,
  /** UUID or name of the storage repository for disks; the pool's default when not given. */
  OMNIVISOR_XENSERVER_SR: optionalText,
  /** UUID or name of the template that says what a guest's platform is. */
  OMNIVISOR_XENSERVER_TEMPLATE: optionalText,
  /** Physical networks, and the network or the members' interface that each is: `physnet1=eth1,…`. */
  OMNIVISOR_XENSERVER_NETWORKS: physicalNetworksTo('interface'),
  /** Whether VLANs that the pool lacks are made. */
  OMNIVISOR_XENSERVER_CREATE_VLANS: z.stringbool().default(false),
});
export type XenServerSettings = z.output<typeof XenServerSettings>;

/** @throws Error when a file that it names cannot be read */
export const xenserverOptions = (settings: XenServerSettings, cloudId: string, stateDir: string): XenServerOptions => {
  const urls = settings.OMNIVISOR_XENSERVER_URLS;
  return {
    cloudId,
    stateDir: join(stateDir, 'xenserver'),
    access: {
      urls,
      user: settings.OMNIVISOR_XENSERVER_USER,
      password: urls.length === 0 ? '' : readFileSync(settings.OMNIVISOR_XENSERVER_PASSWORD_FILE, 'utf8').trim(),
      trust: trustOf(settings.OMNIVISOR_XENSERVER_FINGERPRINTS, settings.OMNIVISOR_XENSERVER_CA_FILE),
    },
    member: settings.OMNIVISOR_XENSERVER_MEMBER ?? null,
    repository: settings.OMNIVISOR_XENSERVER_SR ?? null,
    template: settings.OMNIVISOR_XENSERVER_TEMPLATE ?? null,
    physicalNetworks: settings.OMNIVISOR_XENSERVER_NETWORKS,
    createVlans: settings.OMNIVISOR_XENSERVER_CREATE_VLANS,
  };
};
