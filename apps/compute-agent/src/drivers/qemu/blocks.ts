import { createHash } from 'node:crypto';
import { HypervisorError } from '../hypervisor-driver.js';
import type { AttachedDisk, GuestDefinition, LocalDisk } from './definition.js';
import { placeOf } from './slots.js';

/** The driver of QEMU that reads each disk format. */
export const BLOCK_DRIVERS = {
  qcow2: 'qcow2',
  raw: 'raw',
  vmdk: 'vmdk',
  vhdx: 'vhdx',
  vhd: 'vpc',
  vdi: 'vdi',
  iso: 'raw',
} as const;

export type Properties = Readonly<Record<string, unknown>>;

const file = (filename: string, readOnly: boolean): Properties => ({
  driver: 'file',
  filename,
  'read-only': readOnly,
  ...(readOnly ? {} : { discard: 'unmap' }),
});

/**
 * A disk as QEMU opens it. The format is always said, and what lies under it too: neither is ever taken from bytes that a
 * guest, or one that has broken out of QEMU, can write.
 */
export const localNode = (disk: LocalDisk, filename = (path: string) => path): Properties => ({
  driver: disk.format,
  'node-name': disk.name,
  'read-only': false,
  discard: 'unmap',
  file: file(filename(disk.file), false),
  ...(disk.format === 'qcow2' ? { backing: disk.base && baseNode(disk.base, filename) } : {}),
});

const baseNode = (base: NonNullable<LocalDisk['base']>, filename: (path: string) => string): Properties => ({
  driver: base.format,
  'read-only': true,
  file: file(filename(base.file), true),
  ...(base.format === 'qcow2' ? { backing: null } : {}),
});

/** Node names are short, so the id of a disk goes through a hash. */
export const attachedName = ({ diskId }: Pick<AttachedDisk, 'diskId'>): string =>
  `disk-${createHash('sha256').update(diskId).digest('hex').slice(0, 20)}`;

/** @param opened where QEMU finds what has been opened for it; null: it opens the place itself */
export const attachedNode = (disk: AttachedDisk, opened: Properties | null): Properties => ({
  driver: BLOCK_DRIVERS[disk.format],
  'node-name': attachedName(disk),
  'read-only': disk.readOnly,
  ...(disk.readOnly ? {} : { discard: 'unmap' }),
  file: opened ?? placeNode(disk),
  ...(disk.format === 'qcow2' || disk.format === 'vmdk' ? { backing: null } : {}),
});

const placeNode = ({ connection, readOnly }: AttachedDisk): Properties => {
  if (connection.kind === 'nbd')
    return {
      driver: 'nbd',
      server: { type: 'unix', path: connection.socket },
      export: connection.exportName,
      'read-only': readOnly,
    };
  return {
    ...file(connection.path, readOnly),
    driver: connection.kind === 'block' ? 'host_device' : 'file',
  };
};

/** The name of a file for QEMU's tools: nothing lies under it, whatever it says itself. */
export const nameAlone = (driver: string, filename: string): string =>
  `json:${JSON.stringify({ driver, backing: null, file: { driver: 'file', filename } })}`;

export const romNode = (name: string, filename: string): Properties => ({
  driver: 'raw',
  'node-name': name,
  'read-only': true,
  file: file(filename, true),
});

/** Units on the IDE or SATA channels, counted while a command line is made. */
export class Channels {
  private used = 0;

  constructor(private readonly isQ35: boolean) {}

  /**
   * Four places on the two IDE channels of i440FX; one per port on the AHCI of q35.
   * @throws HypervisorError `unsupported` when all are taken
   */
  next(): Properties {
    const n = this.used++;
    if (n === (this.isQ35 ? 6 : 4))
      throw new HypervisorError(
        'unsupported',
        `the guest has as many disks on ${this.isQ35 ? 'SATA' : 'IDE'} as it can take`,
      );
    return this.isQ35 ? { bus: `ide.${n}` } : { bus: `ide.${Math.floor(n / 2)}`, unit: n % 2 };
  }
}

const DEVICES = { virtio: 'virtio-blk-pci', scsi: 'scsi-hd', ide: 'ide-hd', sata: 'ide-hd' } as const;

/**
 * The device over a node, as the argument of `-device` and of `device_add`.
 * @param channels null for a device that comes while the guest runs
 */
export const diskDevice = (
  guest: GuestDefinition,
  disk: { node: string; bus: AttachedDisk['bus']; serial: string; slot: number; bootIndex: number | null },
  channels: Channels | null,
): Properties => ({
  driver: DEVICES[disk.bus],
  id: `dev-${disk.node}`,
  drive: disk.node,
  ...(disk.bus === 'virtio' ? placeOf(guest, disk.slot) : {}),
  ...(disk.bus === 'scsi' ? { bus: 'scsi0.0', 'scsi-id': disk.slot } : {}),
  ...(disk.bus === 'ide' || disk.bus === 'sata' ? channels?.next() : {}),
  serial: disk.serial,
  ...(disk.bootIndex === null ? {} : { bootindex: disk.bootIndex }),
});
