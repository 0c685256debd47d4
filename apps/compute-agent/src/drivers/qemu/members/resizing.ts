import type { FlavorSnapshot } from '@omnivisor/contracts';
import { HypervisorError, type Resizing } from '../../hypervisor-driver.js';
import { driveArguments } from '../command-line.js';
import { type CpuWishes, policyOf } from '../dedicated-cpus.js';
import { FlavorDevices, type GuestDefinition, type LocalDisk } from '../definition.js';
import { refuseWishes, resizedDevices } from '../devices.js';
import { blankDisk } from '../disks.js';
import { FILES } from '../files.js';
import { refuseDiskBeyond, refuseMemoryBeyond } from '../host-resources.js';
import { settleInterrupted } from '../interrupted.js';
import type { QemuHost } from '../qemu-host.js';
import { beforeResize, forget, growDisks } from '../resized-disks.js';
import { sizeOf } from '../sizes.js';
import { freeDiskSlot } from '../slots.js';
import { refuseAborted } from '../states.js';
import { hasTpm } from '../tpm.js';

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;

/** Disks as the flavor wants them: what is there grows, or stays; what it has besides is added, swap that it lacks goes. */
const resizedDisks = (guest: GuestDefinition, flavor: FlavorSnapshot): LocalDisk[] => {
  const wanted = { root: flavor.disk * GIB, ephemeral: flavor.ephemeral * GIB, swap: flavor.swap * MIB };
  const kept = guest.disks
    .filter(({ name }) => name !== 'swap' || wanted.swap > 0)
    .map((disk) => {
      const size = disk.name === 'rescue' ? disk.size : wanted[disk.name];
      if (disk.name === 'root' && size === 0) return disk;
      if (disk.name !== 'swap' && size < disk.size)
        throw new HypervisorError('unsupported', 'a disk cannot be made smaller');
      return { ...disk, size };
    });
  for (const name of ['ephemeral', 'swap'] as const)
    if (wanted[name] > 0 && !kept.some((disk) => disk.name === name))
      kept.push({ ...blankDisk(name, wanted[name], guest), slot: freeDiskSlot(kept) });
  return kept;
};

const sizeFields = ({ vcpus, memoryMib, topology, hugePages, limits }: GuestDefinition) => ({
  vcpus,
  memoryMib,
  topology,
  hugePages,
  limits,
});

/** Resizes of an older release left the devices as they were. */
const changed = (guest: GuestDefinition, hasDevices: boolean) => [
  sizeFields(guest),
  guest.disks,
  hasDevices ? FlavorDevices.parse(guest) : null,
];

const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

const refuseRunning = async (host: QemuHost, guest: GuestDefinition) => {
  const power = host.powerOf(guest, await host.state(guest));
  if (power !== 'shutdown' && power !== 'crashed')
    throw new HypervisorError('fault', `a guest that is ${power} cannot be resized`);
  await host.turnOff(guest);
};

const refuseBeyond = (host: QemuHost, guest: GuestDefinition, next: GuestDefinition) => {
  // Its own pages are free by then.
  refuseMemoryBeyond(next, host.inventory().memoryMib, (size) => host.freePagesFor(guest, size));
  const bytes = (disks: readonly LocalDisk[]) => disks.reduce((sum, { size }) => sum + size, 0);
  refuseDiskBeyond(bytes(next.disks) - bytes(guest.disks), host.store.path(guest.mark.serverId, FILES.disks));
};

const refuseTpm = async (guest: GuestDefinition, next: GuestDefinition) => {
  if (next.tpm && !guest.tpm && !(await hasTpm()))
    throw new HypervisorError('unsupported', 'this host has no emulated TPM', 'swtpm');
};

/** What it is without the resize, and what it becomes. @throws HypervisorError for a flavor that it cannot get */
const resizedTo = (guest: GuestDefinition, flavor: FlavorSnapshot) => {
  const old = beforeResize(guest);
  const image = { properties: guest.wishes.properties } as never;
  policyOf({ image, flavor });
  // What an older release took of an image stays.
  refuseWishes({ image: { properties: {} }, flavor });
  const wishes = { ...guest.wishes, extraSpecs: flavor.extraSpecs };
  const next: GuestDefinition = {
    ...guest,
    ...sizeOf({ image, flavor }),
    ...resizedDevices(old, old.wishes, wishes),
    disks: resizedDisks(old, flavor),
    wishes,
  };
  // There may be no place for the disks that it has besides.
  driveArguments(next);
  return { image, old, next };
};

export const resizingOf = (host: QemuHost): Resizing => {
  const ownCpus = ({ mark }: GuestDefinition, spec: CpuWishes, { cpus }: GuestDefinition) =>
    host.cpus.own(mark.serverId, spec, cpus ?? []);

  const check = async (guest: GuestDefinition, flavor: FlavorSnapshot) => {
    const { image, old, next } = resizedTo(guest, flavor);
    await refuseTpm(old, next);
    refuseBeyond(host, old, next);
    ownCpus(guest, { image, flavor }, old);
  };

  const resize = async (found: GuestDefinition, flavor: FlavorSnapshot, signal: AbortSignal) => {
    const guest = await settleInterrupted(host, found);
    const { image, old, next } = resizedTo(guest, flavor);
    const hasDevices = guest.before?.devices !== undefined;
    const isAsked = isSame(changed(next, hasDevices), changed(guest, hasDevices));
    if (guest.before) {
      if (isAsked) return;
      throw new HypervisorError('fault', 'another resize of the guest is not settled');
    }
    if (guest.rescue) throw new HypervisorError('fault', 'a guest that is rescued cannot be resized');
    await refuseTpm(old, next);
    await refuseRunning(host, guest);
    refuseBeyond(host, old, next);
    refuseAborted(signal);
    await forget(host, guest);
    const begun: GuestDefinition = {
      ...next,
      // Both claims hold until the resize is confirmed or reverted.
      cpus: ownCpus(guest, { image, flavor }, old),
      before: {
        size: sizeFields(old),
        disks: old.disks,
        cpus: old.cpus ?? null,
        devices: FlavorDevices.parse(old),
        extraSpecs: old.wishes.extraSpecs,
      },
      change: 'resize',
    };
    host.store.write(begun);
    try {
      await growDisks(host, begun, old.disks);
      refuseAborted(signal);
      host.store.write({ ...begun, change: null });
    } catch (error) {
      await settleInterrupted(host, begun);
      throw error;
    }
  };

  const confirm = async (found: GuestDefinition) => {
    const guest = await settleInterrupted(host, found);
    if (guest.before) host.store.write({ ...guest, before: null });
    // Also of a guest whose resize was confirmed by an agent that ended before it came to this.
    await forget(host, guest);
  };

  const revert = async (found: GuestDefinition) => {
    const guest = found.change === 'revert' ? found : await settleInterrupted(host, found);
    if (!guest.before) return;
    await refuseRunning(host, guest);
    host.store.write({ ...guest, change: 'revert' });
    await settleInterrupted(host, { ...guest, change: 'revert' });
  };

  return {
    checkResize: (id, flavor) => host.onOwnGuest(id, (guest) => check(guest, flavor)),
    resize: (id, flavor, signal) => host.onOwnGuest(id, (guest) => resize(guest, flavor, signal)),
    confirmResize: (id) => host.onOwnGuest(id, confirm),
    revertResize: (id) => host.onOwnGuest(id, revert),
  };
};
