import { type GuestNic, HypervisorError } from '../hypervisor-driver.js';
import type { GuestDefinition, Nic } from './definition.js';
import { NIC_MODELS } from './devices.js';
import { freeSlot } from './slots.js';

/** Network devices as the guest has them from now on; one that it had before keeps its place. */
export const withNics = (guest: GuestDefinition, nics: readonly GuestNic[]): GuestDefinition => {
  const made: Nic[] = [];
  for (const nic of nics) {
    const before = guest.nics.find(({ portId }) => portId === nic.portId);
    const slot = before?.slot ?? freeSlot({ ...guest, nics: [...guest.nics, ...made] });
    made.push(nicOf(guest, nic, slot));
  }
  return { ...guest, nics: made };
};

export const nicOf = (guest: GuestDefinition, nic: GuestNic, slot: number): Nic => {
  const { portId, mac, mtu, model, attachment } = nic;
  if (attachment.kind !== 'tap')
    throw new HypervisorError('unsupported', `a port on a ${attachment.networkType} network needs a device here`);
  const device = model === null ? guest.nicModel : Object.hasOwn(NIC_MODELS, model) ? NIC_MODELS[model] : undefined;
  if (!device) throw new HypervisorError('unsupported', `this host has no network interface of model ${model}`);
  return { portId, mac, mtu, model: device, tap: attachment.tap, netns: attachment.netns, slot };
};
