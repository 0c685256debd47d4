import { HypervisorError } from '../hypervisor-driver.js';
import type { QmpClient } from './qmp-client.js';

interface BlockNode {
  readonly 'node-name': string;
  readonly image: { readonly 'virtual-size': number; readonly snapshots?: readonly { readonly name: string }[] };
}

/** A node of the block layer that is open; undefined when there is none of that name. */
export const findNode = async (qmp: QmpClient, name: string): Promise<BlockNode | undefined> => {
  const nodes = await qmp.call<BlockNode[]>('query-named-block-nodes', { flat: true });
  return nodes.find((node) => node['node-name'] === name);
};

export const dropNode = async (qmp: QmpClient, name: string): Promise<void> => {
  if (await findNode(qmp, name)) await qmp.call('blockdev-del', { 'node-name': name });
};

/** Bytes, as the guest sees the disk. */
export const virtualSize = async (qmp: QmpClient, name: string): Promise<number> => {
  const node = await findNode(qmp, name);
  if (!node) throw new HypervisorError('fault', 'the disk is not open', name);
  return node.image['virtual-size'];
};

/** A device that can be plugged, by its id. */
export const hasDevice = async (qmp: QmpClient, id: string): Promise<boolean> => {
  const devices = await qmp.call<{ name: string }[]>('qom-list', { path: '/machine/peripheral' });
  return devices.some(({ name }) => name === id);
};

/** Closes a set of descriptors that was given to the process. */
export const dropSet = async (qmp: QmpClient, set: number): Promise<void> => {
  const sets = await qmp.call<{ 'fdset-id': number }[]>('query-fdsets');
  if (sets.some((known) => known['fdset-id'] === set)) await qmp.call('remove-fd', { 'fdset-id': set });
};
