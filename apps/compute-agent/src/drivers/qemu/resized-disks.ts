import { renameSync, rmSync } from 'node:fs';
import type { GuestDefinition, LocalDisk } from './definition.js';
import { makeSwap } from './disks.js';
import { FILES } from './files.js';
import { guestUser } from './guest-user.js';
import { NEVER, type QemuHost } from './qemu-host.js';
import { findNode } from './qmp-queries.js';

/** A moment inside the guest's disks, to which a revert goes back: it costs no copy. */
const MOMENT = 'before-resize';

const overlays = (disks: readonly LocalDisk[]) => disks.filter((disk) => disk.format === 'qcow2');

/** Marks the moment, and makes the disks as long as they are to be. Again after a crash: goes on. */
export const growDisks = async (host: QemuHost, guest: GuestDefinition, old: readonly LocalDisk[]): Promise<void> => {
  const tools = host.tools(guest);
  for (const disk of overlays(guest.disks)) {
    if (!(await tools.snapshots(disk)).includes(MOMENT)) await tools.snapshot(disk, MOMENT);
    await tools.grow(disk, disk.size);
  }
  await remakeSwap(host, { ...guest, disks: [...old] }, guest.disks);
};

const remakeSwap = async (host: QemuHost, guest: GuestDefinition, disks: readonly LocalDisk[]) => {
  const [old, wanted] = [guest.disks, disks].map((all) => all.find((disk) => disk.name === 'swap'));
  if (!old || !wanted) return;
  const { serverId: id } = guest.mark;
  const folder = host.store.path(id, FILES.disks);
  await makeSwap({ folder, owner: guestUser(id), signal: NEVER }, wanted.size, 'swap.next');
  renameSync(`${folder}/swap.next`, host.store.path(id, wanted.file));
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
  if (old.tpm === null) dropTpm(host, guest);
  return { ...old, before: null };
};

/** What a TPM has kept that the guest does not have. */
const dropTpm = (host: QemuHost, { mark }: GuestDefinition): void =>
  rmSync(host.store.path(mark.serverId, FILES.tpm), { recursive: true, force: true });

/**
 * Lets go of what a revert would bring back: the moment that was marked, in files or in the process that has them open,
 * and the state of a TPM that was taken away.
 */
export const forget = async (host: QemuHost, guest: GuestDefinition): Promise<void> => {
  if (guest.tpm === null) dropTpm(host, guest);
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
