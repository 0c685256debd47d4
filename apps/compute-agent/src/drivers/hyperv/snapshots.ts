import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { bytes } from '@omnivisor/contracts';
import { type DiskExport, type DiskFormat, HypervisorError } from '../hypervisor-driver.js';
import { refuseAborted } from './build.js';
import { makeExportCheckpoint, mergedDrives, removeExportCheckpoint, same } from './checkpoints.js';
import { type Guest, isOn } from './guests.js';

export const EXPORT_FORMATS = ['vhdx', 'vhd'] as const satisfies readonly DiskFormat[];

/**
 * A whole copy beside the guest's disks. Of a guest that is on, a checkpoint holds the disks still while they are copied.
 * On one with checkpoints of others, what it sees is in the disk above those.
 */
export const exportDisk = async (
  guest: Guest,
  disk: 'root' | 'ephemeral',
  format: DiskFormat,
  signal: AbortSignal,
): Promise<DiskExport> => {
  const { on, vm, mark } = guest;
  if (format !== 'vhdx' && format !== 'vhd')
    throw new HypervisorError('unsupported', `Hyper-V writes no disk of format ${format}`);
  const base = disk === 'root' ? mark.root : mark.ephemeral;
  if (!base) throw new HypervisorError('unsupported', 'the guest has no such disk');
  const copy = on.paths.guest(mark.serverId, `export-${randomUUID().slice(0, 8)}.${format}`);
  const path = (await mergedDrives(guest)).find((drive) => same(drive.base, base))?.Path ?? base;
  const { Size } = await on.disks.info(path);
  let quiesced = false;
  try {
    refuseAborted(signal);
    if (isOn(guest)) quiesced = await makeExportCheckpoint(on, vm.Id);
    refuseAborted(signal);
    await on.disks.copy(path, copy);
    refuseAborted(signal);
  } catch (error) {
    await on.files.remove(copy);
    throw error;
  } finally {
    await removeExportCheckpoint(on, vm.Id);
  }
  const stream = Readable.from(on.files.parts(copy), { objectMode: false, highWaterMark: 1 << 20 });
  const remove = () => void on.files.remove(copy).catch(() => undefined);
  stream.once('close', remove);
  return { format, virtualSize: bytes(Size), quiesced, stream };
};
