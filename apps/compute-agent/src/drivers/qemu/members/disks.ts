import { existsSync, statSync, truncateSync } from 'node:fs';
import type { ServerId } from '@omnivisor/contracts';
import { run } from '../../common/native-command.js';
import { type DiskGrowing, type Disks, type GuestDisk, HypervisorError } from '../../hypervisor-driver.js';
import { attachedName, attachedNode, BLOCK_DRIVERS, nameAlone, type Properties } from '../blocks.js';
import { attachedDevice } from '../command-line.js';
import type { AttachedDisk, GuestDefinition } from '../definition.js';
import { checked } from '../definition.js';
import { giveDescriptors } from '../descriptors.js';
import { diskBus } from '../devices.js';
import { settleInterrupted } from '../interrupted.js';
import { type QemuHost } from '../qemu-host.js';
import type { QmpClient } from '../qmp-client.js';
import { dropNode, dropSet, findNode, hasDevice, virtualSize } from '../qmp-queries.js';
import { freeSlot, isQ35 } from '../slots.js';
import { unplug } from '../unplug.js';

/** Descriptor sets of attached disks, one for each place on the bus. */
const setOf = ({ slot }: AttachedDisk): number => 100 + slot;

const asAttached = (guest: GuestDefinition, disk: GuestDisk): AttachedDisk => ({
  ...disk,
  bus: diskBus('a disk on', disk.bus ?? guest.diskBus, isQ35(guest)),
  slot: freeSlot(guest),
});

const requirePlace = ({ connection }: GuestDisk): void => {
  const path = connection.kind === 'nbd' ? connection.socket : connection.path;
  if (!path.startsWith('/') || !existsSync(path)) throw new HypervisorError('fault', 'the disk is not there', path);
};

/** A guest that is off takes what it is told; one that is suspended would wake up to other hardware. */
export const runningState = async (host: QemuHost, guest: GuestDefinition): Promise<boolean> => {
  if (guest.suspended) throw new HypervisorError('fault', 'a guest that is suspended keeps its hardware');
  const state = await host.state(guest);
  return state !== 'gone' && state !== 'shutdown';
};

export const disksOf = (host: QemuHost): Disks => {
  const attach = async (found: GuestDefinition, asked: GuestDisk) => {
    const guest = await settleInterrupted(host, found);
    const known = guest.attached.find(({ diskId }) => diskId === asked.diskId);
    requirePlace(asked);
    const disk = known ?? asAttached(guest, asked);
    const isRunning = await runningState(host, guest);
    const next = checked({ ...guest, attached: [...guest.attached.filter((d) => d !== known), disk] });
    if (!known) host.store.write(next);
    if (!isRunning) return;
    try {
      await plug(next, disk);
    } catch (error) {
      if (!known) host.store.write(guest);
      throw error;
    }
  };

  /** Gives a running guest the disk, or what of it an agent that ended in the middle has not given yet. */
  const plug = async (guest: GuestDefinition, disk: AttachedDisk) => {
    if (disk.bus === 'ide' || disk.bus === 'sata')
      throw new HypervisorError('unsupported', `a running guest takes no disk on ${disk.bus}`);
    const qmp = await host.qmp(guest);
    if (disk.bus === 'scsi' && !(await hasDevice(qmp, 'scsi0')))
      throw new HypervisorError('unsupported', 'a guest that was started without SCSI takes no SCSI disk');
    if (!(await findNode(qmp, attachedName(disk)))) await open(guest, disk);
    if (await hasDevice(qmp, `dev-${attachedName(disk)}`)) return;
    try {
      await qmp.call('device_add', attachedDevice(guest, disk, null));
    } catch (error) {
      await close(qmp, disk);
      throw error;
    }
  };

  const open = async (guest: GuestDefinition, disk: AttachedDisk) => {
    const folder = host.store.path(guest.mark.serverId);
    const { connection } = disk;
    const add = (opened: Properties) => ({ execute: 'blockdev-add', arguments: attachedNode(disk, opened) });
    if (connection.kind === 'nbd') {
      const server = { type: 'fd', str: 'item0' };
      const opened = { driver: 'nbd', server, export: connection.exportName, 'read-only': disk.readOnly };
      await giveDescriptors(folder, [{ kind: 'connect', path: connection.socket }], [add(opened)]);
      return;
    }
    const opened = {
      driver: connection.kind === 'block' ? 'host_device' : 'file',
      filename: `/dev/fdset/${setOf(disk)}`,
      'read-only': disk.readOnly,
    };
    const kind = disk.readOnly ? 'read' : 'write';
    await giveDescriptors(folder, [{ kind, set: setOf(disk), path: connection.path }], [add(opened)]);
  };

  const detach = async (found: GuestDefinition, diskId: string) => {
    const guest = await settleInterrupted(host, found);
    const disk = guest.attached.find((known) => known.diskId === diskId);
    if (!disk) return;
    if (await runningState(host, guest)) {
      if (disk.bus === 'ide' || disk.bus === 'sata')
        throw new HypervisorError('unsupported', `a running guest gives no disk on ${disk.bus}`);
      const qmp = await host.qmp(guest);
      await unplug(qmp, `dev-${attachedName(disk)}`, host.unplugPatience);
      await close(qmp, disk);
    }
    host.store.write({ ...guest, attached: guest.attached.filter((known) => known !== disk) });
  };

  return {
    attach: (id, disk) => host.onOwnGuest(id, (guest) => attach(guest, disk)),
    detach: (id, diskId) => host.onOwnGuest(id, (guest) => detach(guest, diskId)),
  };
};

const close = async (qmp: QmpClient, disk: AttachedDisk): Promise<void> => {
  await dropNode(qmp, attachedName(disk));
  await dropSet(qmp, setOf(disk));
};

export const diskGrowingOf = (host: QemuHost): DiskGrowing => {
  const grow = async (guest: GuestDefinition, diskId: string, size: number) => {
    const disk = guest.attached.find((known) => known.diskId === diskId);
    if (!disk) throw new HypervisorError('fault', 'the disk is not attached');
    if (disk.connection.kind === 'nbd') throw new HypervisorError('unsupported', 'an export cannot be grown from here');
    const { kind, path } = disk.connection;
    const driver = BLOCK_DRIVERS[disk.format];
    if (await runningState(host, guest)) {
      const qmp = await host.qmp(guest);
      const current = await virtualSize(qmp, attachedName(disk));
      if (size < current) throw new HypervisorError('unsupported', 'a disk cannot be made smaller');
      if (size > current) await qmp.call('block_resize', { 'node-name': attachedName(disk), size });
      return;
    }
    if (kind === 'block') return;
    const current =
      driver === 'raw'
        ? statSync(path).size
        : JSON.parse(await run('qemu-img', ['info', '--output=json', nameAlone(driver, path)]))['virtual-size'];
    if (size < current) throw new HypervisorError('unsupported', 'a disk cannot be made smaller');
    if (driver === 'raw') truncateSync(path, size);
    else if (size > current) await run('qemu-img', ['resize', '-q', nameAlone(driver, path), `${size}`]);
  };
  return { grow: (id: ServerId, diskId, size) => host.onOwnGuest(id, (guest) => grow(guest, diskId, size)) };
};
