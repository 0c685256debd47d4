import { randomUUID } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { LiveObject } from '../binder.mjs';
import { diskFull, invalidParameter, invalidState, notWhileRunning, operationFailed } from '../errors.mjs';
import { isMerging } from '../merging.mjs';
import { driveObject } from '../objects.mjs';
import { machines } from './vm.mjs';

const GIB = 1024 ** 3;
const LIMITS = { VHD: 2040 * GIB, VHDX: 64 * 1024 * GIB };

const formatOf = (path) => {
  const extension = /\.(vhdx|avhdx|vhd|avhd)$/i.exec(path)?.[1].toLowerCase();
  if (!extension)
    throw invalidParameter(`'${path}' is not a valid virtual hard disk path: its name ends with .vhd, .vhdx or .vhds.`);
  return extension.endsWith('x') ? 'VHDX' : 'VHD';
};

/** @throws as the system does for a file that is missing or no disk */
export const diskInfo = (host, path) => {
  formatOf(path);
  const info = host.disks.info(host.local(path));
  if (info) return info;
  throw existsSync(host.local(path))
    ? operationFailed(
        `Getting the mounted storage instance for the path '${path}' failed. The file or directory is corrupted and unreadable. (0x80070570).`,
      )
    : operationFailed(`The system cannot find the file '${path}'. (0x80070002).`);
};

const inUse = (host, path) =>
  [...host.vms.values()].find(
    (vm) =>
      vm.State !== 'Off' && vm.State !== 'Saved' && vm.drives.some((d) => d.path?.toLowerCase() === path.toLowerCase()),
  );

const notThere = (path, host) => {
  if (existsSync(host.local(path)))
    throw operationFailed(`The system failed to create '${path}'. The file exists. (0x80070050).`);
};
const checkSize = (path, size) => {
  if (size % 512 !== 0 || size < 3 * 1024 ** 2 || size > LIMITS[formatOf(path)])
    throw invalidParameter(`The size specified for '${path}' is not valid. (0x80070057)`);
};

const room = (host, path, bytes) => {
  if (bytes > host.facts.freeBytes) throw diskFull(path);
};

const vhd = (host, path) => {
  const info = diskInfo(host, path);
  return new LiveObject('VirtualHardDisk', {
    Path: path,
    VhdFormat: info.format,
    VhdType: info.type,
    Size: info.size,
    FileSize: info.fileSize,
    ParentPath: info.parent === null ? '' : host.remote(info.parent),
    Attached: inUse(host, path) !== undefined,
    LogicalSectorSize: 512,
    PhysicalSectorSize: 4096,
    ComputerName: host.facts.name,
  });
};

const drives = (host, parameters, kind) => {
  const given = parameters.VMHardDiskDrive ?? parameters.VMDvdDrive;
  if (given) return [given].flat();
  const { ControllerType: type, ControllerNumber: number, ControllerLocation: location } = parameters;
  return machines(host, parameters).flatMap((vm) =>
    vm.drives
      .filter(
        (d) =>
          d.kind === kind &&
          (type ?? d.type) === d.type &&
          (number ?? d.number) === d.number &&
          (location ?? d.location) === d.location,
      )
      .map((drive) => ({ vm, drive })),
  );
};

/** Where a new drive goes; IDE is there in generation 1 only and takes nothing while the machine runs. */
const placeFor = (vm, { ControllerType, ControllerNumber = 0, ControllerLocation }, forDvd) => {
  const type = ControllerType ?? (vm.Generation === 1 ? 'IDE' : 'SCSI');
  if (type === 'IDE' && vm.Generation === 2)
    throw invalidParameter(`The virtual machine '${vm.Name}' has no IDE controller.`);
  if (type === 'SCSI' && vm.Generation === 1 && forDvd)
    throw invalidParameter('A DVD drive of a generation 1 virtual machine is on an IDE controller.');
  if (type === 'IDE' && vm.State !== 'Off')
    throw invalidState(
      `Failed to add device. The virtual machine '${vm.Name}' must be turned off when adding a drive to an IDE controller.`,
    );
  const [controllers, slots] = type === 'IDE' ? [2, 2] : [vm.scsiControllers ?? 1, 64];
  if (ControllerNumber >= controllers)
    throw invalidParameter(`No ${type} controller with number ${ControllerNumber} could be found.`);
  const taken = vm.drives.filter((d) => d.type === type && d.number === ControllerNumber).map((d) => d.location);
  const location = ControllerLocation ?? [...Array(slots).keys()].find((n) => !taken.includes(n));
  if (location === undefined || location >= slots || taken.includes(location))
    throw invalidParameter(
      `Failed to locate a free slot at location ${location} of ${type} controller ${ControllerNumber}.`,
    );
  return { type, number: ControllerNumber, location };
};

const checkDiskFor = (host, vm, path) => {
  const info = diskInfo(host, path);
  if (vm.Generation === 2 && formatOf(path) !== 'VHDX')
    throw invalidParameter(
      `'${vm.Name}' failed to add device 'Virtual Hard Disk'. A generation 2 virtual machine does not support the VHD format. (0xC03A0005)`,
    );
  const user = [...host.vms.values()].find(
    (other) => other !== vm && other.State !== 'Off' && other.drives.some((d) => d.path === path),
  );
  if (user)
    throw operationFailed(
      `Failed to add device 'Virtual Hard Disk'. '${path}' is in use by '${user.Name}'. (0x80070020)`,
    );
  return info;
};

export const diskCmdlets = {
  'New-VHD': async (host, { Path, ParentPath, SizeBytes, Fixed, SourceDisk }, set) => {
    if (SourceDisk !== undefined) throw new Error('the double has no physical disks');
    const made = [];
    for (const path of Path) {
      const format = formatOf(path);
      notThere(path, host);
      if (set === 'Differencing') {
        const parent = diskInfo(host, ParentPath);
        if (parent.format !== format)
          throw invalidParameter(`Parent '${ParentPath}' and '${path}' are of different formats. (0xC03A0015)`);
        if (format === 'VHD' && SizeBytes !== undefined && SizeBytes !== parent.size)
          throw invalidParameter('A differencing disk of format VHD has the size of its parent.');
        if (SizeBytes !== undefined && SizeBytes < parent.size)
          throw invalidParameter('A differencing disk is not smaller than its parent.');
        host.disks.create(host.local(path), {
          format,
          type: 'Differencing',
          size: SizeBytes ?? parent.size,
          parent: host.local(ParentPath),
        });
      } else {
        checkSize(path, SizeBytes);
        room(host, path, Fixed ? SizeBytes : 0);
        host.disks.create(host.local(path), { format, type: Fixed ? 'Fixed' : 'Dynamic', size: SizeBytes });
      }
      made.push(vhd(host, path));
    }
    return made;
  },
  'Get-VHD': async (host, { Path, VMId, DiskNumber }) => {
    if (DiskNumber !== undefined) throw new Error('the double has no physical disks');
    const paths =
      Path ??
      VMId.flatMap((id) =>
        host.vms
          .get(id)
          .drives.filter((d) => d.kind === 'HardDiskDrive')
          .map((d) => d.path),
      );
    return paths.map((path) => vhd(host, path));
  },
  'Convert-VHD': async (host, { Path, DestinationPath, VHDType, DeleteSource, ParentPath, Passthru }) => {
    const source = diskInfo(host, Path);
    if (ParentPath || VHDType === 'Differencing') throw new Error('the double converts to disks without a parent only');
    // A disk that is written to cannot be copied; one that is only read from, below a differencing disk, can.
    if (inUse(host, Path) || isMerging(host, Path))
      throw operationFailed(
        `The process cannot access the file '${Path}' because it is being used by another process. (0x80070020).`,
      );
    notThere(DestinationPath, host);
    room(host, DestinationPath, source.fileSize);
    await host.disks.convert(host.local(Path), host.local(DestinationPath), {
      format: formatOf(DestinationPath),
      type: VHDType ?? (source.type === 'Fixed' ? 'Fixed' : 'Dynamic'),
    });
    if (DeleteSource) rmSync(host.local(Path));
    return Passthru ? [vhd(host, DestinationPath)] : [];
  },
  'Resize-VHD': async (host, { Path, SizeBytes, ToMinimumSize, Passthru }) => {
    if (ToMinimumSize) throw new Error('the double does not shrink');
    for (const path of Path) {
      const info = diskInfo(host, path);
      if (SizeBytes < info.size)
        throw operationFailed(`Failed to resize '${path}': the new size is smaller than its content. (0xC03A0022)`);
      if (info.format === 'VHD' && info.type === 'Differencing')
        throw operationFailed(`Failed to resize '${path}': a differencing VHD cannot be resized. (0xC03A001B)`);
      const drive = inUse(host, path)?.drives.find((d) => d.path?.toLowerCase() === path.toLowerCase());
      if (drive && (drive.type !== 'SCSI' || info.format !== 'VHDX'))
        throw operationFailed(
          `The process cannot access the file '${path}' because it is being used by another process. (0x80070020).`,
        );
      await host.disks.resize(host.local(path), SizeBytes);
    }
    return Passthru ? Path.map((path) => vhd(host, path)) : [];
  },

  'Get-VMHardDiskDrive': async (host, p) =>
    drives(host, p, 'HardDiskDrive').map(({ vm, drive }) => driveObject(vm, drive)),
  'Get-VMDvdDrive': async (host, p) => drives(host, p, 'DvdDrive').map(({ vm, drive }) => driveObject(vm, drive)),
  'Add-VMHardDiskDrive': async (host, p) => {
    const made = [];
    for (const vm of machines(host, p)) {
      const place = placeFor(vm, p, false);
      checkDiskFor(host, vm, p.Path);
      if (vm.drives.some((d) => d.path === p.Path))
        throw operationFailed(`'${p.Path}' is attached already. (0x80070020)`);
      const drive = { kind: 'HardDiskDrive', id: randomUUID(), ...place, path: p.Path };
      vm.drives.push(drive);
      await host.machines.disksChanged(vm);
      made.push(driveObject(vm, drive));
    }
    return p.Passthru ? made : [];
  },
  'Add-VMDvdDrive': async (host, p) => {
    const made = [];
    for (const vm of machines(host, p)) {
      const place = placeFor(vm, p, true);
      if (p.Path) checkIso(host, p.Path);
      const drive = { kind: 'DvdDrive', id: randomUUID(), ...place, path: p.Path ?? null };
      vm.drives.push(drive);
      made.push(driveObject(vm, drive));
    }
    return p.Passthru ? made : [];
  },
  'Set-VMDvdDrive': async (host, p) => {
    for (const { drive } of drives(host, p, 'DvdDrive')) {
      if (p.Path) checkIso(host, p.Path);
      drive.path = p.Path ?? null;
    }
    return [];
  },
  'Remove-VMHardDiskDrive': async (host, p) => remove(host, drives(host, p, 'HardDiskDrive')),
};

const checkIso = (host, path) => {
  if (!/\.iso$/i.test(path) || !existsSync(host.local(path)))
    throw invalidParameter(`Failed to add device 'Virtual CD/DVD Disk': '${path}' was not found. (0x80070002)`);
};

const remove = async (host, found) => {
  for (const { vm, drive } of found) {
    if (drive.type === 'IDE' && vm.State !== 'Off') throw notWhileRunning(vm);
    vm.drives.splice(vm.drives.indexOf(drive), 1);
    await host.machines.disksChanged(vm);
  }
  return [];
};
