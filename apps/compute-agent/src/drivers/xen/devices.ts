import type { Bytes } from '@omnivisor/contracts';
import { type GuestDisk, HypervisorError } from '../hypervisor-driver.js';
import type { Definition, Nic } from './definition.js';
import { asPlugged, guarding } from './guard.js';
import { type Guest, type Guests, isOn } from './guests.js';
import { ATTACH_NIC, CUT_OFF, DISK_AT, DOMAIN_COMMAND, GROW, GUARD_PORTS } from './scripts.js';
import { deviceNumber, diskSpec, freeDevice, nicSpec } from './xl-config.js';
import { parseDeviceNumbers, parseInterfaces } from './xl-output.js';

const refuse = (what: string): never => {
  throw new HypervisorError('unsupported', `Xen cannot serve ${what}`);
};

/** Waits for scripts of the device, and for a guest that lets go of it. */
const PLUG_LIMIT = 300_000;

const command = (guests: Guests, { serverId }: Definition, ...args: string[]): Promise<string> =>
  guests.call(serverId, DOMAIN_COMMAND, args, { timeout: PLUG_LIMIT });

const hasDisk = async (guests: Guests, guest: Definition, device: string): Promise<boolean> =>
  parseDeviceNumbers(await command(guests, guest, 'block-list')).includes(deviceNumber(device));

const hasNic = async (guests: Guests, guest: Definition, mac: string): Promise<boolean> =>
  parseInterfaces(await command(guests, guest, 'network-list')).has(mac);

/** Forgets what was not attached, once the host says that it is not there: what did not answer may still bring it about. */
const forgetIfAbsent = async (
  isThere: Promise<boolean>,
  forget: () => Promise<unknown>,
  whenThere: () => Promise<unknown> = async () => undefined,
): Promise<void> => {
  // What cannot be asked, or forgotten, stays on record, so that a detach looks for it.
  await isThere.then((there) => (there ? whenThere() : forget())).catch(() => undefined);
};

const sizeAt = async ({ host, root }: Guests, path: string): Promise<{ kind: string; size: number } | null> => {
  const [, kind, size] = /^(file|block) (\d+)/.exec(await host.call(DISK_AT, [root, path])) ?? [];
  return kind === undefined ? null : { kind, size: Number(size) };
};

/** Where dom0 has a disk that is to be a guest's. @throws HypervisorError when it is none that Xen can serve */
export const pathOf = async (guests: Guests, { connection, format, bus }: GuestDisk): Promise<string> => {
  if (bus !== null && bus !== 'xen') refuse(`hw_disk_bus=${bus}`);
  if (connection.kind === 'nbd') return refuse('a disk that is an export of the network');
  if (format !== 'raw') refuse(`an attached disk of format ${format}`);
  if ((await sizeAt(guests, connection.path))?.kind !== connection.kind)
    throw new HypervisorError('fault', 'there is no such disk on the host');
  return connection.path;
};

export const attachDisk = async (guests: Guests, guest: Guest, disk: GuestDisk): Promise<void> => {
  let { definition } = guest;
  const { diskId, readOnly } = disk;
  const path = await pathOf(guests, disk);
  const known = definition.disks.find((attached) => attached.diskId === diskId);
  const device = known?.device ?? freeDevice(definition.disks);
  const spec = diskSpec(path, device, readOnly);
  if (!known) {
    const attached = { diskId, path, device, readOnly };
    definition = await guests.keep({ ...definition, disks: [...definition.disks, attached] });
  }
  if (!isOn(guest) || (await hasDisk(guests, definition, device))) return;
  try {
    await command(guests, definition, 'block-attach', spec);
  } catch (error) {
    await forgetIfAbsent(hasDisk(guests, definition, device), () => guests.keep(guest.definition));
    throw error;
  }
};

export const detachDisk = async (guests: Guests, guest: Guest, diskId: string): Promise<void> => {
  const { definition } = guest;
  const attached = definition.disks.find((disk) => disk.diskId === diskId);
  if (!attached) return;
  if (isOn(guest) && (await hasDisk(guests, definition, attached.device))) {
    const failed = await command(guests, definition, 'block-detach', attached.device).catch((error: unknown) => error);
    if (await hasDisk(guests, definition, attached.device))
      throw new HypervisorError('unavailable', 'the guest does not let go of the disk', String(failed));
  }
  await guests.keep({ ...definition, disks: definition.disks.filter((disk) => disk !== attached) });
};

export const growDisk = async (guests: Guests, { definition }: Guest, diskId: string, size: Bytes): Promise<void> => {
  const attached = definition.disks.find((disk) => disk.diskId === diskId);
  if (!attached) throw new HypervisorError('fault', 'the guest has no such disk');
  const now = await sizeAt(guests, attached.path);
  if (!now) throw new HypervisorError('fault', 'there is no such disk on the host');
  if (size < now.size) refuse('a disk that becomes smaller');
  await guests.host.call(GROW, [guests.root, attached.path, String(size)]);
};

/** @param opened an interface that may have been cut off */
const guardPorts = (guests: Guests, guest: Definition, opened?: Nic): Promise<string> => {
  const { args, input } = guarding(guest, true);
  return guests.call(guest.serverId, GUARD_PORTS, [...args, ...(opened ? [asPlugged(opened)] : [])], { input });
};

export const attachNic = async (guests: Guests, guest: Guest, nic: Nic): Promise<void> => {
  const before = guest.definition;
  const known = before.nics.find(({ portId }) => portId === nic.portId);
  const others = before.nics.filter((other) => other !== known);
  const wanted = known ? { ...known, guard: nic.guard } : nic;
  const definition = { ...before, nics: before.nics.map((other) => (other === known ? wanted : other)) };
  if (!known) definition.nics.push(wanted);
  const { args, input } = guarding(definition, true);
  const plug = [...args, asPlugged(wanted), ...nicSpec(wanted, (definition.rescue ?? definition).type)];
  // Until its link is up again it is known as cut off, so that the next try sets that.
  const isClosed = isOn(guest) && known?.guard?.cutOff === true;
  if (!isClosed && JSON.stringify(before.nics) !== JSON.stringify(definition.nics)) await guests.keep(definition);
  if (!isOn(guest)) return;
  const isThere = known !== undefined && (await hasNic(guests, definition, nic.mac));
  try {
    if (!isThere) await guests.call(before.serverId, ATTACH_NIC, plug, { input, timeout: PLUG_LIMIT });
    else if (known.guard || wanted.guard) await guardPorts(guests, definition, wanted);
    if (isClosed) await guests.keep(definition);
  } catch (error) {
    const old = isThere ? before : { ...before, nics: others };
    const restore = async () => {
      await guests.keep(old);
      await guardPorts(guests, old);
    };
    // One that came all the same, and may be open, is shut until a try of its own succeeds.
    const shut = () => cutOffNic(guests, { ...guest, definition }, nic.portId);
    await forgetIfAbsent(isThere ? Promise.resolve(false) : hasNic(guests, definition, nic.mac), restore, shut);
    throw error;
  }
};

/** It is on record, so that what starts the guest without being told of its ports starts it with this one shut. */
export const cutOffNic = async (guests: Guests, guest: Guest, portId: string): Promise<void> => {
  let { definition } = guest;
  const nic = definition.nics.find((known) => known.portId === portId);
  if (!nic) return;
  if (!nic.guard?.cutOff) {
    const shut: Nic = { ...nic, guard: { addresses: [], rules: [], cutOff: true } };
    const nics = definition.nics.map((other) => (other === nic ? shut : other));
    definition = await guests.keep({ ...definition, nics });
  }
  if (!isOn(guest)) return;
  const { args, input } = guarding(definition, true);
  await guests.call(definition.serverId, CUT_OFF, [args[0]!, asPlugged(nic)], { input });
};

export const detachNic = async (guests: Guests, guest: Guest, portId: string): Promise<void> => {
  const { definition } = guest;
  const nic = definition.nics.find((known) => known.portId === portId);
  if (!nic) return;
  if (isOn(guest) && (await hasNic(guests, definition, nic.mac))) {
    const failed = await command(guests, definition, 'network-detach', nic.mac).catch((error: unknown) => error);
    if (await hasNic(guests, definition, nic.mac))
      throw new HypervisorError('unavailable', 'the guest does not let go of the interface', String(failed));
  }
  const without = { ...definition, nics: definition.nics.filter((known) => known !== nic) };
  if (nic.guard) await guardPorts(guests, without);
  await guests.keep(without);
};
