import { z } from 'zod';
import { KeyedMutex } from '../../common/keyed-mutex.js';
import { HypervisorError, type ImageSource } from '../../hypervisor-driver.js';
import { hostObject, machine } from '../host-call.js';
import type { HostConnection } from '../host-connection.js';
import { CmdletError } from '../host-errors.js';
import { extensionOf, type Paths } from '../paths.js';

const GIB = 1024 ** 3;

const Vhd = z.object({ Size: z.number(), VhdFormat: z.string(), ParentPath: z.string().nullable() });

export const Drive = z.object({
  Path: z.string().nullable(),
  ControllerType: z.enum(['IDE', 'SCSI']),
  ControllerNumber: z.number(),
  ControllerLocation: z.number(),
});
export type Drive = z.output<typeof Drive>;

export interface Slot {
  readonly type: 'IDE' | 'SCSI';
  readonly number: number;
  readonly location: number;
}

/** Where drives of ours go. Generation 1 boots from IDE and has its DVD drive there; generation 2 has SCSI only. */
export const SLOTS: Readonly<Record<1 | 2, { boot: Slot; second: Slot; ephemeral: Slot; configDrive: Slot }>> = {
  1: {
    boot: { type: 'IDE', number: 0, location: 0 },
    second: { type: 'IDE', number: 0, location: 1 },
    ephemeral: { type: 'SCSI', number: 0, location: 0 },
    configDrive: { type: 'IDE', number: 1, location: 0 },
  },
  2: {
    boot: { type: 'SCSI', number: 0, location: 0 },
    second: { type: 'SCSI', number: 0, location: 1 },
    ephemeral: { type: 'SCSI', number: 0, location: 2 },
    configDrive: { type: 'SCSI', number: 0, location: 63 },
  },
};

const FIRST_OF_OTHERS = 1 + SLOTS[2].ephemeral.location;

const at = ({ type, number, location }: Slot) => ({
  ControllerType: type,
  ControllerNumber: number,
  ControllerLocation: location,
});

/** Virtual hard disks, and the drives they are in. */
export class HostDisks {
  private readonly fetching = new KeyedMutex<string>();

  constructor(
    private readonly host: HostConnection,
    private readonly paths: Paths,
  ) {}

  /** The bytes of an image on the host, fetched by the host itself and once however many ask. */
  async image(source: ImageSource, signal: AbortSignal): Promise<string> {
    const { sha256, size } = await source.digest();
    const path = await this.imagePath(source);
    await this.fetching.run(path, async () => {
      await this.host.run('New-HostFolder', { Path: this.paths.images });
      await this.receive(source, { sha256, size }, path, signal);
    });
    return path;
  }

  /** Where the bytes of an image are, or would be. */
  async imagePath(source: ImageSource): Promise<string> {
    const { sha256 } = await source.digest();
    return this.paths.image(sha256, formatOf(source));
  }

  private async receive(
    { url }: ImageSource,
    { sha256, size }: { readonly sha256: string; readonly size: number },
    path: string,
    signal: AbortSignal,
  ): Promise<void> {
    await this.host.run('Receive-HostImage', { Url: url, Sha256: sha256, Size: size, Path: path }, signal);
    const { ParentPath } = await this.info(path);
    if (ParentPath) throw new HypervisorError('fault', 'the image refers to another file');
  }

  /**
   * The disk of one server, which moves here: its bytes are the guest's disk, and no image that others stand on.
   * @param size bytes; 0: as long as it is
   * @returns its path
   */
  async own(source: ImageSource, path: string, size: number, signal: AbortSignal): Promise<string> {
    const brought = `${path}.${formatOf(source)}`;
    await this.receive(source, await source.digest(), brought, signal);
    const info = await this.info(brought);
    refuseLarger(info.Size, size);
    if (size === 0 || size === info.Size) return brought;
    // A VHD cannot become as large as a VHDX.
    const whole = extensionOf(brought) === 'vhd' ? `${path}.vhdx` : brought;
    if (whole !== brought) {
      await this.copy(brought, whole);
      await this.host.run('Remove-HostItem', { Path: brought });
    }
    await this.resize(whole, size);
    return whole;
  }

  async info(path: string): Promise<z.output<typeof Vhd>> {
    return (await this.host.get('Get-VHD', { Path: path }, Vhd))[0]!;
  }

  /** A disk, then what it stands on, one after another; of no more is asked than is taken. */
  async *chain(path: string): AsyncGenerator<string> {
    for (let disk: string | null = path; disk; disk = (await this.info(disk)).ParentPath) yield disk;
  }

  /**
   * A disk whose content is that of `parent` until it is written to.
   * @param size bytes; 0: as long as the parent
   * @returns its path: a larger disk over a VHD is a VHDX of its own, as a differencing VHD has the size of its parent
   */
  async above(parent: string, path: string, size: number): Promise<string> {
    const info = await this.info(parent);
    refuseLarger(info.Size, size);
    const same = size === 0 || size === info.Size;
    if (extensionOf(parent) === 'vhd' && !same) {
      const whole = `${path}.vhdx`;
      await this.host.run('Convert-VHD', { Path: parent, DestinationPath: whole, VHDType: 'Dynamic' });
      await this.resize(whole, size);
      return whole;
    }
    const child = `${path}.${extensionOf(parent)}`;
    await this.host.run('New-VHD', {
      Path: child,
      ParentPath: parent,
      Differencing: true,
      ...(same ? {} : { SizeBytes: size }),
    });
    return child;
  }

  resize(path: string, size: number): Promise<void> {
    return this.host.run('Resize-VHD', { Path: path, SizeBytes: size });
  }

  /** A copy of its own, with no parent. */
  copy(path: string, to: string): Promise<void> {
    return this.host.run('Convert-VHD', { Path: path, DestinationPath: to, VHDType: 'Dynamic' });
  }

  /**
   * A point in time that the guest's disks go on above.
   * @returns whether the guest has frozen its file systems for it: a production checkpoint needs its help
   */
  async checkpoint(vmId: string, name: string): Promise<boolean> {
    for (const CheckpointType of ['ProductionOnly', 'Standard'] as const) {
      await this.host.run('Set-VM', { VM: machine(vmId), CheckpointType });
      try {
        await this.host.run('Checkpoint-VM', { VM: machine(vmId), SnapshotName: name });
        return CheckpointType === 'ProductionOnly';
      } catch (error) {
        if (CheckpointType === 'Standard' || !(error instanceof CmdletError)) throw error;
      }
    }
    return false;
  }

  /** Names of all that are there, whoever took them. */
  async checkpoints(vmId: string): Promise<string[]> {
    const there = await this.host.get('Get-VMSnapshot', { VM: machine(vmId) }, z.object({ Name: z.string() }));
    return there.map(({ Name }) => Name);
  }

  /**
   * What was written since goes into the disks below, also while the guest runs; it may take long after this has returned.
   * None of that name: succeeds.
   */
  async removeCheckpoint(vmId: string, name: string): Promise<void> {
    if (!(await this.checkpoints(vmId)).includes(name)) return;
    // `-Name` takes wildcards: `before [KB123]` would not mean itself.
    const named = hostObject('Get-VMSnapshot', { VM: machine(vmId) }, { Name: name });
    await this.host.run('Remove-VMSnapshot', { VMSnapshot: named, Confirm: false });
  }

  drives(vmId: string): Promise<Drive[]> {
    return this.host.get('Get-VMHardDiskDrive', { VM: machine(vmId) }, Drive);
  }

  dvdDrives(vmId: string): Promise<Drive[]> {
    return this.host.get('Get-VMDvdDrive', { VM: machine(vmId) }, Drive);
  }

  /** @param slot else the first on SCSI that no disk of the guest's own may come to need */
  async attach(vmId: string, path: string, slot?: Slot): Promise<void> {
    const place = at(slot ?? (await this.freeSlot(vmId)));
    await this.host.run('Add-VMHardDiskDrive', { VM: machine(vmId), Path: path, ...place });
  }

  private async freeSlot(vmId: string): Promise<Slot> {
    const taken = new Set(
      [...(await this.drives(vmId)), ...(await this.dvdDrives(vmId))]
        .filter(({ ControllerType, ControllerNumber }) => ControllerType === 'SCSI' && ControllerNumber === 0)
        .map(({ ControllerLocation }) => ControllerLocation),
    );
    let location = FIRST_OF_OTHERS;
    while (taken.has(location)) location += 1;
    return { type: 'SCSI', number: 0, location };
  }

  /** Of a disk that is not there: succeeds. */
  async detach(vmId: string, path: string): Promise<void> {
    const drive = (await this.drives(vmId)).find(({ Path }) => Path?.toLowerCase() === path.toLowerCase());
    if (!drive) return;
    await this.host.run('Remove-VMHardDiskDrive', { VMHardDiskDrive: this.driveObject(vmId, drive) });
  }

  private driveObject(vmId: string, drive: Drive) {
    return hostObject(
      'Get-VMHardDiskDrive',
      { VM: machine(vmId), ControllerType: drive.ControllerType, ControllerNumber: drive.ControllerNumber },
      { ControllerLocation: drive.ControllerLocation },
    );
  }

  /** Generation 2 starts from the drive it is told to; generation 1 from the first one on IDE. */
  async startFrom(vmId: string, generation: 1 | 2, slot: Slot): Promise<void> {
    if (generation === 1) {
      await this.host.run('Set-VMBios', {
        VM: machine(vmId),
        StartupOrder: ['IDE', 'CD', 'LegacyNetworkAdapter', 'Floppy'],
      });
      return;
    }
    const drive = hostObject(
      'Get-VMHardDiskDrive',
      { VM: machine(vmId), ControllerType: slot.type, ControllerNumber: slot.number },
      { ControllerLocation: slot.location },
    );
    await this.host.run('Set-VMFirmware', { VM: machine(vmId), FirstBootDevice: drive });
  }

  /** The file in the drive that config drives are put in; null for none. */
  async inserted(vmId: string, generation: 1 | 2): Promise<string | null> {
    return (await this.configDriveOf(vmId, generation))?.Path ?? null;
  }

  private async configDriveOf(vmId: string, generation: 1 | 2): Promise<Drive | undefined> {
    const { number, location } = SLOTS[generation].configDrive;
    const drives = await this.dvdDrives(vmId);
    return drives.find((d) => d.ControllerNumber === number && d.ControllerLocation === location);
  }

  /** Puts the config drive in, or takes it out. Generation 1 has its DVD drive from the start. */
  async insert(vmId: string, generation: 1 | 2, iso: string | null): Promise<void> {
    const { number, location } = SLOTS[generation].configDrive;
    const there = await this.configDriveOf(vmId, generation);
    const drive = hostObject(
      'Get-VMDvdDrive',
      { VM: machine(vmId), ControllerNumber: number },
      { ControllerLocation: location },
    );
    if (there) await this.host.run('Set-VMDvdDrive', { VMDvdDrive: drive, Path: iso });
    else if (iso)
      await this.host.run('Add-VMDvdDrive', {
        VM: machine(vmId),
        ControllerNumber: number,
        ControllerLocation: location,
        Path: iso,
      });
  }
}

const formatOf = ({ format }: ImageSource): 'vhd' | 'vhdx' => {
  if (format === 'vhd' || format === 'vhdx') return format;
  throw new HypervisorError('unsupported', `Hyper-V cannot read an image of disk format ${format}`);
};

const refuseLarger = (needed: number, size: number): void => {
  if (size > 0 && needed > size)
    throw new HypervisorError(
      'fault',
      `the image needs ${Math.ceil(needed / GIB)} GiB, the flavor's disk has ${Math.floor(size / GIB)} GiB`,
    );
};

/** There is no such file, or no such folder. */
export const isGone = (error: unknown): boolean =>
  error instanceof CmdletError && error.windowsCodes.some((code) => code === '0x80070002' || code === '0x80070003');

/** Windows keeps a file for a moment after its last user is gone. */
export const isInUse = (error: unknown): boolean =>
  error instanceof CmdletError && error.windowsCodes.includes('0x80070020');
