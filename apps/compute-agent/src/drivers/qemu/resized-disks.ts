import { renameSync, rmSync } from 'node:fs';
import type { GuestDefinition, LocalDisk } from './definition.js';
import { type Making, makeEphemeral, makeSwap } from './disks.js';
import { DISK_FILES, FILES } from './files.js';
import { guestUser } from './guest-user.js';
import { NEVER, type QemuHost } from './qemu-host.js';
import { findNode } from './qmp-queries.js';

/** A moment inside the guest's disks, to which a revert goes back: it costs no copy. */
const MOMENT = 'before-resize';

const overlays = (disks: readonly LocalDisk[]) => disks.filter((disk) => disk.format === 'qcow2');

/** Those of which none of the others has the name. */
const besides = (disks: readonly LocalDisk[], others: readonly LocalDisk[]) =>
  disks.filter(({ name }) => !others.some((other) => other.name === name));

const makingOf = (host: QemuHost, { mark: { serverId: id } }: GuestDefinition): Making => ({
  ...{ folder: host.store.path(id, FILES.disks), owner: guestUser(id), signal: NEVER },
});

/** Marks the moment, makes the disks as long as they are to be, and those that are new. */
export const growDisks = async (host: QemuHost, guest: GuestDefinition, old: readonly LocalDisk[]): Promise<void> => {
  const tools = host.tools(guest);
  const added = besides(guest.disks, old);
  for (const disk of overlays(guest.disks)) {
    if (added.includes(disk)) continue;
    if (!(await tools.snapshots(disk)).includes(MOMENT)) await tools.snapshot(disk, MOMENT);
    await tools.grow(disk, disk.size);
  }
  await remakeSwap(host, { ...guest, disks: [...old] }, guest.disks);
  for (const { name, size } of added) await (name === 'swap' ? makeSwap : makeEphemeral)(makingOf(host, guest), size);
};

const remakeSwap = async (host: QemuHost, guest: GuestDefinition, disks: readonly LocalDisk[]) => {
  const [old, wanted] = [guest.disks, disks].map((all) => all.find((disk) => disk.name === 'swap'));
  if (!old || !wanted) return;
  const making = makingOf(host, guest);
  await makeSwap(making, wanted.size, 'swap.next');
  renameSync(`${making.folder}/swap.next`, host.store.path(guest.mark.serverId, wanted.file));
};

const remove = (host: QemuHost, { mark }: GuestDefinition, ...files: readonly string[]): void => {
  for (const file of files) rmSync(host.store.path(mark.serverId, file), { force: true });
};

/** The guest as it was before the resize that is not settled. */
export const beforeResize = (guest: GuestDefinition): GuestDefinition => {
  if (!guest.before) return guest;
  const { size, disks, cpus = null, devices, extraSpecs } = guest.before;
  const wishes = extraSpecs ? { ...guest.wishes, extraSpecs } : guest.wishes;
  return { ...guest, ...size, ...devices, disks, cpus, wishes };
};

/** The guest as it was before; its disks go back to the moment that was marked. */
export const takeBack = async (host: QemuHost, guest: GuestDefinition): Promise<Partial<GuestDefinition>> => {
  if (!guest.before) return {};
  const old = beforeResize(guest);
  const tools = host.tools(guest);
  for (const disk of overlays(old.disks)) {
    if (!(await tools.snapshots(disk)).includes(MOMENT)) continue;
    await tools.revert(disk, MOMENT);
    await tools.forget(disk, MOMENT);
  }
  await remakeSwap(host, guest, old.disks);
  for (const { file, base } of besides(guest.disks, old.disks)) remove(host, guest, file, ...(base ? [base.file] : []));
  if (old.tpm === null) dropTpm(host, guest);
  return { ...old, before: null };
};

/** What a TPM has kept that the guest does not have. */
const dropTpm = (host: QemuHost, { mark }: GuestDefinition): void =>
  rmSync(host.store.path(mark.serverId, FILES.tpm), { recursive: true, force: true });

/**
 * Lets go of what a revert would bring back: the moment that was marked, in files or in the process that has them open,
 * and the swap disk or the state of a TPM that was taken away.
 */
export const forget = async (host: QemuHost, guest: GuestDefinition): Promise<void> => {
  if (guest.tpm === null) dropTpm(host, guest);
  if (!guest.disks.some(({ name }) => name === 'swap')) remove(host, guest, `${FILES.disks}/${DISK_FILES.swap}`);
  const disks = overlays(guest.disks);
  if ((await host.state(guest)) === 'gone') {
    const tools = host.tools(guest);
    for (const disk of disks) if ((await tools.snapshots(disk)).includes(MOMENT)) await tools.forget(disk, MOMENT);
    return;
  }
  const qmp = await host.qmp(guest);
  for (const { name } of disks)
    if ((await findNode(qmp, name))?.image.snapshots?.some((snapshot) => snapshot.name === MOMENT))
      await qmp.call('blockdev-snapshot-delete-internal-sync', { device: name, name: MOMENT });
};
