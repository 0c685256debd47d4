import { PHYSICAL_NETWORK } from './all-hypervisors.js';
import { eventually, type RunningCloud } from './running-cloud.js';
import type { Done, Things } from './scenario.js';

/** Nova's names of the hypervisors, as flavors ask for them. */
const TYPES: Readonly<Record<string, string>> = {
  fake: 'fake',
  qemu: 'QEMU',
  xen: 'xen',
  vsphere: 'VMware vCenter Server',
  xenserver: 'XenServer',
  hyperv: 'hyperv',
};

/** What the servers of all hypervisors have in common. */
export type Shared = Omit<Things, 'flavors'>;

/** An image with these bytes. @returns its id, once it can be used */
export const imageFrom = async ({ admin }: RunningCloud, bytes: Buffer, properties: object = {}): Promise<string> => {
  const image = await admin.post('image', '/images', {
    ...{ name: 'tiny', disk_format: 'raw', container_format: 'bare', ...properties },
  });
  await admin.put('image', `/images/${image.id}/file`, bytes, { 'content-type': 'application/octet-stream' });
  const status = async () => (await admin.get('image', `/images/${image.id}`)).status;
  await eventually('the image is there', status, (now) => now === 'active');
  return image.id;
};

/** A network without port security, and an image with these bytes. @param properties of the image */
export const sharedThings = async (cloud: RunningCloud, bytes: Buffer, properties: object = {}): Promise<Shared> => {
  const { admin } = cloud;
  const { network } = await admin.post('network', '/networks', {
    network: {
      name: 'outer',
      port_security_enabled: false,
      'provider:network_type': 'flat',
      'provider:physical_network': PHYSICAL_NETWORK,
    },
  });
  const subnet = { network_id: network.id, ip_version: 4, cidr: '192.0.2.0/24' };
  await admin.post('network', '/subnets', { subnet });
  return { network: network.id, image: await imageFrom(cloud, bytes, properties) };
};

/** Two sizes for servers of one hypervisor. @param memory MiB */
export const flavorsFor = async ({ admin }: RunningCloud, host: string, memory: readonly [number, number]) => {
  const make = async (name: string, ram: number) => {
    const { flavor } = await admin.post('compute', '/flavors', {
      flavor: { name: `${host}-${name}`, vcpus: 1, ram, disk: 1 },
    });
    await admin.post('compute', `/flavors/${flavor.id}/os-extra_specs`, {
      extra_specs: { 'capabilities:hypervisor_type': TYPES[host] },
    });
    return flavor.id as string;
  };
  return [await make('small', memory[0]), await make('large', memory[1])] as const;
};

/** Steps that were refused as unsupported. */
export const refusedBy = (done: readonly Done[]): string[] =>
  done.flatMap(({ step, events }) => (events === 501 ? [step] : []));

/** What a hypervisor has to have in the log when another had this, and it does not do some of the steps. */
export const wantedOf = (other: readonly Done[], unsupported: readonly string[]): Done[] =>
  other.map(({ step, events }) => ({ step, events: unsupported.includes(step) ? 501 : events }));
