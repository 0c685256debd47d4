import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, open, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { ServerId } from '@omnivisor/contracts';
import { writeConfigDrive } from '../../common/config-drive.js';
import { run } from '../../common/native-command.js';
import { HypervisorError, type ImageSource } from '../../hypervisor-driver.js';
import { type TransferFormat, upload } from '../transport/transfer.js';
import { xapiCode } from '../transport/xapi-error.js';
import { LONG_TASK_LIMIT, type XapiSession } from '../transport/xapi-session.js';
import { type DiskMark, diskMark, readDiskMark, STATE_KEY } from './guest-state.js';
import type { Guest } from './guests.js';
import { type Ref, type VdiRecord, wholeNumber } from './records.js';

const GIB = 2 ** 30;
const MIB = 2 ** 20;
const FOOTER = 512;

/** What a disk is made of: where its bytes come from, and how long it has to be. */
export interface DiskPlan {
  readonly role: string;
  /** Bytes; at least as long as its contents. */
  readonly size: number;
  readonly fill: (xapi: XapiSession, vdi: Ref, signal: AbortSignal) => Promise<void>;
}

interface SourceFile {
  readonly path: string;
  readonly format: TransferFormat;
  /** Bytes of the file that are sent. */
  readonly length: number;
  /** Bytes that a guest sees. */
  readonly virtualSize: number;
}

/** A fixed VHD is its contents with a footer behind; XAPI reads dynamic ones only. */
const look = async ({ format }: ImageSource, path: string): Promise<SourceFile> => {
  const { size } = await stat(path);
  if (format === 'raw') return { path, format: 'raw', length: size, virtualSize: size };
  if (format !== 'vhd') throw new HypervisorError('unsupported', `this pool takes no disks of format ${format}`);
  const footer = Buffer.alloc(FOOTER);
  const file = await open(path, 'r');
  try {
    await file.read(footer, 0, FOOTER, Math.max(0, size - FOOTER));
  } finally {
    await file.close();
  }
  const virtualSize = Number(footer.readBigUInt64BE(48));
  switch (footer.toString('latin1', 0, 8) === 'conectix' ? footer.readUInt32BE(60) : 0) {
    case 2:
      return { path, format: 'raw', length: size - FOOTER, virtualSize };
    case 3:
      return { path, format: 'vhd', length: size, virtualSize };
    default:
      throw new HypervisorError('fault', 'the image is no VHD that stands for itself');
  }
};

const sendFile =
  (path: string, format: TransferFormat, length: number) => (xapi: XapiSession, vdi: Ref, signal: AbortSignal) =>
    upload(xapi, vdi, format, { stream: createReadStream(path, { end: length - 1 }), length }, signal);

/** @param gib of the flavor; 0: as long as the source */
export const diskFrom = async (
  role: string,
  source: ImageSource,
  gib: number,
  signal: AbortSignal,
): Promise<DiskPlan> => {
  const file = await look(source, await source.path(signal));
  if (gib > 0 && file.virtualSize > gib * GIB)
    throw new HypervisorError(
      'fault',
      `the image needs ${Math.ceil(file.virtualSize / GIB)} GiB, the disk has ${gib} GiB`,
    );
  return { role, size: Math.max(gib * GIB, file.virtualSize, 1), fill: sendFile(file.path, file.format, file.length) };
};

/** Files are packed here, and go up as they are. */
export const configDriveFrom = (files: ReadonlyMap<string, Uint8Array>): DiskPlan => {
  const image = writeConfigDrive(files);
  const fill = (xapi: XapiSession, vdi: Ref, signal: AbortSignal) =>
    upload(xapi, vdi, 'raw', { stream: Readable.from([image]), length: image.length }, signal);
  return { role: 'config', size: image.length, fill };
};

/** A disk that a tool of this machine formats; only what the tool wrote is sent. */
const formatted = (
  role: string,
  size: number,
  scratch: string,
  command: string,
  args: readonly string[],
): DiskPlan => ({
  role,
  size,
  fill: async (xapi, vdi, signal) => {
    await mkdir(scratch, { recursive: true });
    const folder = await mkdtemp(join(scratch, 'disk-'));
    try {
      const [raw, vhd] = [join(folder, 'raw'), join(folder, 'vhd')];
      await writeFile(raw, '', { mode: 0o600 });
      await truncate(raw, size);
      await run(command, [...args, raw], { signal });
      const options = 'subformat=dynamic,force_size=on';
      await run('qemu-img', ['convert', '-f', 'raw', '-O', 'vpc', '-o', options, raw, vhd], { signal });
      await sendFile(vhd, 'vhd', (await stat(vhd)).size)(xapi, vdi, signal);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
});

export const ephemeralOf = (gib: number, scratch: string): DiskPlan =>
  formatted('ephemeral', gib * GIB, scratch, 'mkfs.ext4', ['-q', '-F', '-L', 'ephemeral0', '-E', 'lazy_itable_init=1']);
export const swapOf = (mib: number, scratch: string): DiskPlan =>
  formatted('swap', mib * MIB, scratch, 'mkswap', ['-q']);

/** A disk with our mark. */
export interface MarkedDisk {
  readonly ref: Ref;
  readonly record: VdiRecord;
  readonly mark: DiskMark;
}

/** Disks of one storage repository, marked with the server and the VM they belong to. */
export class Storage {
  constructor(
    private readonly xapi: XapiSession,
    private readonly cloudId: string,
    /** The repository that new disks are made on. */
    readonly repository: () => Promise<Ref>,
  ) {}

  /** Makes a disk with its contents; it is marked before it has any. @returns its UUID */
  async make(guest: Guest, plan: DiskPlan, signal: AbortSignal): Promise<string> {
    const { serverId } = guest.state;
    const ref = await this.xapi.run(
      'VDI.create',
      [
        {
          ...{ name_label: `${serverId} ${plan.role}`, name_description: '', SR: await this.repository() },
          ...{ virtual_size: plan.size, type: 'user', sharable: false, read_only: false, tags: [] },
          other_config: diskMark(this.markFor(guest, plan.role)),
        },
      ],
      { signal },
    );
    await plan.fill(this.xapi, ref, signal);
    return this.xapi.call('VDI.get_uuid', ref);
  }

  private markFor({ state: { serverId }, record }: Guest, role: string): DiskMark {
    return { cloudId: this.cloudId, serverId, role, vm: record.uuid };
  }

  /** Marks a disk that was made by somebody else, or for another VM. */
  async claim(ref: Ref, guest: Guest, role: string): Promise<void> {
    await this.xapi.call('VDI.remove_from_other_config', ref, STATE_KEY);
    const mark = diskMark(this.markFor(guest, role))[STATE_KEY];
    await this.xapi.call('VDI.add_to_other_config', ref, STATE_KEY, mark);
  }

  ref(uuid: string): Promise<Ref> {
    return this.xapi.call('VDI.get_by_uuid', uuid);
  }

  async size(uuid: string): Promise<number> {
    return wholeNumber(await this.xapi.call('VDI.get_virtual_size', await this.ref(uuid)));
  }

  /** A copy: where the storage knows no better, one that is written at once. @returns its UUID */
  async clone(uuid: string, signal: AbortSignal): Promise<string> {
    const copy = await this.xapi.run('VDI.clone', [await this.ref(uuid)], { signal, limit: LONG_TASK_LIMIT });
    return this.xapi.call('VDI.get_uuid', copy);
  }

  async snapshot(uuid: string, signal: AbortSignal): Promise<Ref> {
    return this.xapi.run('VDI.snapshot', [await this.ref(uuid)], { signal, limit: LONG_TASK_LIMIT });
  }

  async grow(uuid: string, size: number, signal: AbortSignal): Promise<void> {
    if (size > (await this.size(uuid)))
      await this.xapi.run('VDI.resize', [await this.ref(uuid), size], { signal, limit: LONG_TASK_LIMIT });
  }

  /** Disks with the mark of this server, also such that a crash left behind. */
  async of(serverId: ServerId): Promise<MarkedDisk[]> {
    const all = await this.xapi.call<Record<Ref, VdiRecord>>('VDI.get_all_records');
    return Object.entries(all).flatMap(([ref, record]) => {
      const mark = readDiskMark(record.other_config);
      return mark?.serverId === serverId && mark.cloudId === this.cloudId ? [{ ref, record, mark }] : [];
    });
  }

  /** Whether a VM has it as a disk, apart from this one. */
  async isUsedBeside(vm: Ref | null, { record: { VBDs } }: MarkedDisk): Promise<boolean> {
    for (const vbd of VBDs)
      try {
        if ((await this.xapi.call<Ref>('VBD.get_VM', vbd)) !== vm) return true;
      } catch (error) {
        if (xapiCode(error) !== 'HANDLE_INVALID') throw error;
      }
    return false;
  }

  /** Succeeds when it is gone already. */
  async remove(ref: Ref): Promise<void> {
    try {
      await this.xapi.run('VDI.destroy', [ref], { limit: LONG_TASK_LIMIT });
    } catch (error) {
      if (xapiCode(error) !== 'HANDLE_INVALID') throw error;
    }
  }
}
