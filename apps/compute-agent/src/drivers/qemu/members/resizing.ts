import { renameSync, statfsSync } from 'node:fs';
import type { FlavorSnapshot } from '@omnivisor/contracts';
import { HypervisorError, type Resizing } from '../../hypervisor-driver.js';
import type { GuestDefinition, LocalDisk } from '../definition.js';
import { refuseWishes } from '../devices.js';
import { makeSwap } from '../disks.js';
import { FILES } from '../files.js';
import { guestUser } from '../guest-user.js';
import { settleInterrupted } from '../interrupted.js';
import { NEVER, type QemuHost } from '../qemu-host.js';
import { sizeOf } from '../sizes.js';

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;

/** A moment inside the guest's disks, to which a revert goes back: it costs no copy. */
const MOMENT = 'before-resize';

/** Disks as the flavor wants them: what is there grows, or stays. */
const resizedDisks = ({ disks }: GuestDefinition, flavor: FlavorSnapshot): LocalDisk[] => {
  const wanted = { root: flavor.disk * GIB, ephemeral: flavor.ephemeral * GIB, swap: flavor.swap * MIB };
  for (const name of ['ephemeral', 'swap'] as const)
    if (wanted[name] > 0 !== disks.some((disk) => disk.name === name))
      throw new HypervisorError('unsupported', `a resize here neither adds nor removes a disk (${name})`);
  return disks.map((disk) => {
    const size = disk.name === 'rescue' ? disk.size : wanted[disk.name];
    if (disk.name === 'root' && size === 0) return disk;
    if (disk.name !== 'swap' && size < disk.size)
      throw new HypervisorError('unsupported', 'a disk cannot be made smaller');
    return { ...disk, size };
  });
};

const sizeFields = ({ vcpus, memoryMib, topology, hugePages, limits }: GuestDefinition) => ({
  vcpus,
  memoryMib,
  topology,
  hugePages,
  limits,
});

const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

const overlays = (disks: readonly LocalDisk[]) => disks.filter((disk) => disk.format === 'qcow2');

const refuseRunning = async (host: QemuHost, guest: GuestDefinition) => {
  const power = host.powerOf(guest, await host.state(guest));
  if (power !== 'shutdown' && power !== 'crashed')
    throw new HypervisorError('fault', `a guest that is ${power} cannot be resized`);
  await host.turnOff(guest);
};

const refuseBeyond = (host: QemuHost, guest: GuestDefinition, next: GuestDefinition) => {
  const { total, used } = host.promisedMemory(guest.mark.serverId);
  if (next.memoryMib > total - used)
    throw new HypervisorError(
      'noResources',
      `not enough memory: ${next.memoryMib} MiB wanted, ${total - used} MiB free`,
    );
  const bytes = (disks: readonly LocalDisk[]) => disks.reduce((sum, { size }) => sum + size, 0);
  const { bavail, bsize } = statfsSync(host.options.stateDir);
  const more = bytes(next.disks) - bytes(guest.disks);
  if (more > bavail * bsize) throw new HypervisorError('noResources', `not enough disk: ${more} bytes more wanted`);
};

const remakeSwap = async (host: QemuHost, guest: GuestDefinition, disks: readonly LocalDisk[]) => {
  const [old, wanted] = [guest.disks, disks].map((all) => all.find((disk) => disk.name === 'swap'));
  if (!old || !wanted) return;
  const { serverId: id } = guest.mark;
  const folder = host.store.path(id, FILES.disks);
  await makeSwap({ folder, owner: guestUser(id), signal: NEVER }, wanted.size, 'swap.next');
  renameSync(`${folder}/swap.next`, host.store.path(id, wanted.file));
};

/** The guest as it was before; its disks go back to the moment that was marked. */
export const takeBack = async (host: QemuHost, guest: GuestDefinition): Promise<Partial<GuestDefinition>> => {
  if (!guest.before) return {};
  const { size, disks } = guest.before;
  const tools = host.tools(guest);
  for (const disk of overlays(disks)) {
    if (!(await tools.snapshots(disk)).includes(MOMENT)) continue;
    await tools.revert(disk, MOMENT);
    await tools.forget(disk, MOMENT);
  }
  await remakeSwap(host, guest, disks);
  return { ...size, disks, before: null };
};

export const resizingOf = (host: QemuHost): Resizing => {
  const resize = async (found: GuestDefinition, flavor: FlavorSnapshot, signal: AbortSignal) => {
    const guest = found.change === 'resize' ? found : await settleInterrupted(host, found);
    const old: GuestDefinition = guest.before ? { ...guest, ...guest.before.size, disks: guest.before.disks } : guest;
    const image = { properties: guest.wishes.properties } as never;
    refuseWishes({ image, flavor });
    const next: GuestDefinition = { ...guest, ...sizeOf({ image, flavor }), disks: resizedDisks(old, flavor) };
    const isAsked = isSame([sizeFields(next), next.disks], [sizeFields(guest), guest.disks]);
    if (guest.before && guest.change === null) {
      if (isAsked) return;
      throw new HypervisorError('fault', 'another resize of the guest is not settled');
    }
    if (guest.rescue) throw new HypervisorError('fault', 'a guest that is rescued cannot be resized');
    await refuseRunning(host, guest);
    refuseBeyond(host, old, next);
    if (signal.aborted) throw new HypervisorError('fault', 'the resize was aborted');
    const begun: GuestDefinition = {
      ...next,
      before: { size: sizeFields(old), disks: old.disks },
      change: 'resize',
      wishes: { ...guest.wishes, extraSpecs: flavor.extraSpecs },
    };
    if (guest.change === null) await forget(host, guest);
    host.store.write(begun);
    try {
      const tools = host.tools(begun);
      for (const disk of overlays(begun.disks)) {
        if (!(await tools.snapshots(disk)).includes(MOMENT)) await tools.snapshot(disk, MOMENT);
        await tools.grow(disk, disk.size);
      }
      await remakeSwap(host, { ...begun, disks: old.disks }, begun.disks);
      if (signal.aborted) throw new HypervisorError('fault', 'the resize was aborted');
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
    resize: (id, flavor, signal) => host.onGuest(id, (guest) => resize(guest, flavor, signal)),
    confirmResize: (id) => host.onGuest(id, confirm),
    revertResize: (id) => host.onGuest(id, revert),
  };
};

/** Lets go of the moment that was marked, in files or in the process that has them open. */
const forget = async (host: QemuHost, guest: GuestDefinition): Promise<void> => {
  const disks = overlays(guest.disks);
  if ((await host.state(guest)) === 'gone') {
    const tools = host.tools(guest);
    for (const disk of disks) if ((await tools.snapshots(disk)).includes(MOMENT)) await tools.forget(disk, MOMENT);
    return;
  }
  const qmp = await host.qmp(guest);
  type Node = { 'node-name': string; image: { snapshots?: { name: string }[] } };
  const nodes = await qmp.call<Node[]>('query-named-block-nodes', { flat: true });
  for (const { name } of disks)
    if (nodes.some((node) => node['node-name'] === name && node.image.snapshots?.some((s) => s.name === MOMENT)))
      await qmp.call('blockdev-snapshot-delete-internal-sync', { device: name, name: MOMENT });
};
