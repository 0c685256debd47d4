import { createReadStream, openSync, rmSync, statfsSync } from 'node:fs';
import { bytes } from '@omnivisor/contracts';
import { run } from '../../common/native-command.js';
import { type DiskExport, type DiskFormat, HypervisorError, type Snapshots } from '../../hypervisor-driver.js';
import type { GuestDefinition, LocalDisk } from '../definition.js';
import { giveDescriptors } from '../descriptors.js';
import { frozen } from '../guest-agent.js';
import { type QemuHost } from '../qemu-host.js';
import type { QmpClient } from '../qmp-client.js';
import { endJob, runJob } from '../qmp-jobs.js';
import { dropNode, dropSet, virtualSize } from '../qmp-queries.js';
import { refuseAborted } from '../states.js';

const FORMATS: readonly DiskFormat[] = ['qcow2', 'raw', 'vmdk', 'vhd', 'vhdx', 'vdi'];
const SET = 2;
const NODE = 'export';
const JOB = 'export';
/** What a live copy is made into, and what that is converted to. */
const COPY = 'export.qcow2';
const CONVERTED = 'export.converted';

/** A disk at one point in time: a running guest's by a job that keeps what is overwritten meanwhile. */
export const snapshotsOf = (host: QemuHost): Snapshots => {
  const exportDisk = async (
    guest: GuestDefinition,
    name: 'root' | 'ephemeral',
    format: DiskFormat,
    signal: AbortSignal,
  ): Promise<DiskExport> => {
    if (!FORMATS.includes(format)) throw new HypervisorError('unsupported', `disks are not exported as ${format} here`);
    const disk = guest.disks.find((known) => known.name === name);
    if (!disk) throw new HypervisorError('unsupported', `the guest has no ${name} disk`);
    refuseAborted(signal);
    const { serverId: id } = guest.mark;
    refuseFull(host, disk);
    const remove = () => {
      for (const file of [COPY, CONVERTED]) rmSync(host.store.path(id, file), { force: true });
    };
    remove();
    try {
      const state = guest.suspended ? 'gone' : await host.state(guest);
      const isLive = state !== 'gone' && state !== 'shutdown';
      if (state === 'shutdown') await host.turnOff(guest);
      const quiesced = isLive ? await copyLive(guest, disk, signal) : false;
      const made = isLive ? { ...disk, file: COPY, base: null } : disk;
      const file = isLive && format === 'qcow2' ? COPY : CONVERTED;
      if (file === CONVERTED) await host.tools(guest).convert(made, format, CONVERTED, signal);
      // The name goes at once: whoever stops reading, or ends, leaves nothing.
      const descriptor = openSync(host.store.path(id, file), 'r');
      const stream = createReadStream('', { fd: descriptor });
      return { format, virtualSize: bytes(disk.size), quiesced, stream };
    } finally {
      remove();
    }
  };

  /** @returns whether the file systems were frozen at that moment */
  const copyLive = async (guest: GuestDefinition, disk: LocalDisk, signal: AbortSignal): Promise<boolean> => {
    const folder = host.store.path(guest.mark.serverId);
    const qmp = await host.qmp(guest);
    await clear(qmp);
    const size = await virtualSize(qmp, disk.name);
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', COPY, `${size}`], { cwd: folder });
    host.giveToGuest(guest, COPY);
    await giveDescriptors(folder, [{ kind: 'write', set: SET, path: COPY }]);
    const file = { driver: 'file', filename: `/dev/fdset/${SET}` };
    await qmp.call('blockdev-add', { driver: 'qcow2', 'node-name': NODE, file, backing: null });
    const args = { device: disk.name, target: NODE, sync: 'full', 'auto-dismiss': false };
    try {
      const { isFrozen, thaw } = await frozen(host, guest);
      try {
        await runJob(qmp, JOB, { command: 'blockdev-backup', args }, signal, thaw);
        return isFrozen;
      } finally {
        await thaw();
      }
    } finally {
      await clear(qmp);
    }
  };

  return {
    formats: FORMATS,
    exportDisk: (id, disk, format, signal) =>
      host.onOwnGuest(id, (guest) => {
        if (guest.change) throw new HypervisorError('fault', 'the guest is in the middle of a change');
        return exportDisk(guest, disk, format, signal);
      }),
  };
};

const clear = async (qmp: QmpClient): Promise<void> => {
  await endJob(qmp, JOB);
  await dropNode(qmp, NODE);
  await dropSet(qmp, SET);
};

/** What the disk takes may be needed once more, while it is copied. */
const refuseFull = (host: QemuHost, disk: LocalDisk): void => {
  // The copy lies in the guest's own folder, also where its disks are on storage that is shared.
  const { bavail, bsize } = statfsSync(host.options.stateDir);
  if (Math.min(disk.size, 1024 ** 3) > bavail * bsize)
    throw new HypervisorError('noResources', 'not enough disk to copy the disk of the guest');
};
