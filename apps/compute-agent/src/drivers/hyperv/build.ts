import { randomUUID } from 'node:crypto';
import { hardwareWishesOf, type ServerId } from '@omnivisor/contracts';
import { writeConfigDrive } from '../common/config-drive.js';
import { type GuestSpec, HypervisorError, type ImageSource } from '../hypervisor-driver.js';
import { aclsFor } from './acls.js';
import { giveUpCheckpoints } from './checkpoints.js';
import type { Guest, Guests } from './guests.js';
import { type Hardware, hardwareFor, memoryFor, plainMac, type Wire, wireFor } from './hardware.js';
import { arrangeDisks } from './layout.js';
import { type Mark, sizeOf, writeMark } from './mark.js';
import { isShared } from './mark-files.js';
import type { ReadyNode } from './node.js';
import { powerOf } from './operations/machines.js';

const GIB = 1024 ** 3;

/** How guests are made here, by configuration. */
export interface BuildOptions {
  readonly cloudId: string;
  /** Physical network to virtual switch. */
  readonly switches: Readonly<Record<string, string>>;
  /** Of an image that does not say. */
  readonly generation: 1 | 2;
  /** Share of its memory that a guest starts with: 1 is all, 2 half, and it gets the rest when it asks. */
  readonly dynamicMemoryRatio: number;
}

export interface Plan {
  readonly spec: GuestSpec;
  readonly hardware: Hardware;
  readonly wires: readonly Wire[];
}

/** Everything that can be refused without asking the host. */
export const plan = (spec: GuestSpec, options: BuildOptions): Plan => {
  for (const nic of spec.nics) if (nic.guard) aclsFor(nic, nic.guard);
  return {
    spec,
    hardware: hardwareFor(spec, options.generation),
    wires: spec.nics.map((nic) => wireFor(nic, options.switches)),
  };
};

export const refuseAborted = (signal: AbortSignal): void => {
  if (signal.aborted) throw new HypervisorError('fault', 'it was aborted');
};

/**
 * A new disk in the guest's folder with the bytes of a source; each has a name of its own.
 * @returns its path, and the images that it stands on
 */
export const diskFrom = async (
  on: ReadyNode,
  id: ServerId,
  kind: 'root' | 'rescue' | 'ephemeral',
  source: ImageSource,
  size: number,
  signal: AbortSignal,
): Promise<{ path: string; images: string[] }> => {
  const to = on.paths.guest(id, `${kind}-${randomUUID().slice(0, 8)}`);
  if (source.isPrivate) return { path: await on.disks.own(source, to, size, signal), images: [] };
  const image = await on.disks.image(source, signal);
  refuseAborted(signal);
  return { path: await on.disks.above(image, to, size), images: [image] };
};

export const writeIso = async (on: ReadyNode, { mark, configDrive }: GuestSpec): Promise<string | null> => {
  if (!configDrive) return null;
  const path = on.paths.guest(mark.serverId, `config-${randomUUID().slice(0, 8)}.iso`);
  await on.files.write(path, writeConfigDrive(configDrive));
  return path;
};

/** Makes machine and disks, and leaves it off and `building`. What fails is cleared away by the caller. */
export const build = async (
  on: ReadyNode,
  guests: Guests,
  { spec, hardware, wires }: Plan,
  options: BuildOptions,
  signal: AbortSignal,
): Promise<Guest> => {
  const { serverId: id } = spec.mark;
  await on.marks.write(spec.mark, 'building');
  await on.files.makeFolder(on.paths.guest(id));
  const { root, ephemeral } = spec.disks;
  const made = await diskFrom(on, id, 'root', root.source, root.size * GIB, signal);
  const second = ephemeral?.source
    ? await diskFrom(on, id, 'ephemeral', ephemeral.source, ephemeral.size * GIB, signal)
    : null;
  refuseAborted(signal);

  const memory = memoryFor(spec.flavor.memory, options.dynamicMemoryRatio);
  const vmId = await on.machines.create(id, hardware, memory, on.paths.guests);
  const mark: Mark = {
    ...spec.mark,
    stage: 'building',
    size: sizeOf(spec.flavor, root.size),
    root: made.path,
    rescue: null,
    ephemeral: second?.path ?? null,
    configDrive: await writeIso(on, spec),
    slot: null,
    images: [...made.images, ...(second?.images ?? [])],
    ports: Object.fromEntries(spec.nics.map((nic) => [nic.portId, plainMac(nic.mac)])),
    disks: {},
    adopted: false,
    former: null,
    wishes: hardwareWishesOf(spec.image, spec.flavor),
    rescueWishes: null,
    rescueConfigDrive: null,
    ejected: null,
    before: null,
    rebuilding: null,
  };
  await on.machines.setNotes(vmId, writeMark(mark, null));
  const guest = await guests.get(id);
  await on.machines.settleOnHost(vmId, id);
  await on.machines.setSize(vmId, spec.flavor.vcpus, memory);
  if (hardware.generation === 2) await on.machines.setSecureBoot(vmId, hardware);
  refuseAborted(signal);
  await arrangeDisks(guest, mark);
  await on.disks.insert(vmId, hardware.generation, mark.configDrive);
  for (const [i, nic] of spec.nics.entries()) await on.adapters.plug(vmId, nic, wires[i]!);
  await on.machines.meter(vmId);
  refuseAborted(signal);
  return guest;
};

/** Nothing of the server is left on this host, whatever its stage; disks that were attached to it stay. */
export const wipe = async (on: ReadyNode, guests: Guests, id: ServerId): Promise<void> => {
  const found = await guests.at(on, id);
  const machines = [...(found ? [found.vm] : []), ...(await guests.halfMade(on, id))];
  for (const vm of machines) {
    if (!['shutdown', 'suspended'].includes(powerOf(vm.State))) await on.machines.turnOff(vm.Id);
    // With its checkpoints would go what it has written to them since.
    if (vm === found?.vm && (found.mark.adopted || Object.keys(found.mark.disks).length > 0))
      await giveUpCheckpoints(found);
    await on.machines.remove(vm.Id);
  }
  guests.forget(id);
  // Disks that the other host of a move has too are no longer ours.
  if (machines.length > 0 || !isShared(await on.marks.stageOf(id))) await on.files.remove(on.paths.guest(id));
  await on.marks.remove(id);
};
