import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import {
  fingerprintList,
  isEndpointAddress,
  optionalText,
  physicalNetworksTo,
  trustOf,
} from '../common/endpoint-settings.js';
import type { VsphereOptions } from './vsphere.driver.js';

/** Environment of an agent that drives a cluster of a vCenter, or an ESXi host. */
export const VsphereSettings = z.object({
  /** `https://address` of the vCenter, or of an ESXi host that no vCenter manages. */
  OMNIVISOR_VSPHERE_URL: z.string().refine(isEndpointAddress, 'is not https://address').optional(),
  OMNIVISOR_VSPHERE_USER: z.string().default('omnivisor@vsphere.local'),
  OMNIVISOR_VSPHERE_PASSWORD_FILE: z.string().default('/etc/omnivisor/vsphere_password'),
  /** Authorities that sign its certificate, PEM; the system's when neither this nor a fingerprint is given. */
  OMNIVISOR_VSPHERE_CA_FILE: optionalText,
  /** SHA-256 of its certificate: then this is trusted and no other. Several while it is replaced. */
  OMNIVISOR_VSPHERE_FINGERPRINTS: fingerprintList,
  /** Names in the inventory; each may be left out where there is one only. */
  OMNIVISOR_VSPHERE_DATACENTER: optionalText,
  OMNIVISOR_VSPHERE_CLUSTER: optionalText,
  OMNIVISOR_VSPHERE_DATASTORE: optionalText,
  /** The member of the cluster that is the host; the whole cluster is one host when not given. Never change it. */
  OMNIVISOR_VSPHERE_MEMBER: optionalText,
  /** Where guests are made: the cluster's own pool and the datacenter's own folder when not given. */
  OMNIVISOR_VSPHERE_RESOURCE_POOL: optionalText,
  OMNIVISOR_VSPHERE_FOLDER: optionalText,
  /** Physical networks, and the switch or port group that each is: `physnet1=dvs-1,…`. */
  OMNIVISOR_VSPHERE_NETWORKS: physicalNetworksTo('switch'),
  /** Whether distributed port groups for VLANs that have none are made. */
  OMNIVISOR_VSPHERE_CREATE_PORT_GROUPS: z.stringbool().default(false),
});
export type VsphereSettings = z.output<typeof VsphereSettings>;

/** @throws Error when a file that it names cannot be read */
export const vsphereOptions = (settings: VsphereSettings, cloudId: string, stateDir: string): VsphereOptions => {
  const url = settings.OMNIVISOR_VSPHERE_URL ?? null;
  return {
    cloudId,
    stateDir: join(stateDir, 'vsphere'),
    access: {
      url,
      user: settings.OMNIVISOR_VSPHERE_USER,
      password: url === null ? '' : readFileSync(settings.OMNIVISOR_VSPHERE_PASSWORD_FILE, 'utf8').trim(),
      trust: trustOf(settings.OMNIVISOR_VSPHERE_FINGERPRINTS, settings.OMNIVISOR_VSPHERE_CA_FILE),
    },
    datacenter: settings.OMNIVISOR_VSPHERE_DATACENTER ?? null,
    cluster: settings.OMNIVISOR_VSPHERE_CLUSTER ?? null,
    member: settings.OMNIVISOR_VSPHERE_MEMBER ?? null,
    datastore: settings.OMNIVISOR_VSPHERE_DATASTORE ?? null,
    resourcePool: settings.OMNIVISOR_VSPHERE_RESOURCE_POOL ?? null,
    folder: settings.OMNIVISOR_VSPHERE_FOLDER ?? null,
    physicalNetworks: settings.OMNIVISOR_VSPHERE_NETWORKS,
    createPortGroups: settings.OMNIVISOR_VSPHERE_CREATE_PORT_GROUPS,
  };
};
