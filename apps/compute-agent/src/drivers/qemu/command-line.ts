import type { GuestDefinition } from './definition.js';
import { guestName } from './definition.js';

/** How this host runs guests now, whatever the guest is made of. */
export interface Execution {
  readonly accel: 'kvm' | 'tcg';
  readonly cpuModel: string;
  /** User and group of the process once it holds its devices; null: it stays who started it. */
  readonly runAs: number | null;
}

/** Files in a guest's folder; QEMU runs in that folder and opens them by these names. */
export const FILES = {
  definition: 'guest.json',
  stopped: 'stopped.json',
  qmp: 'qmp.sock',
  vnc: 'vnc.sock',
  serial: 'serial.sock',
  console: 'console.log',
  pid: 'qemu.pid',
  stderr: 'qemu.log',
  base: 'base.img',
  root: 'disk.qcow2',
  ephemeral: 'disk.eph0',
  swap: 'disk.swap',
  configDrive: 'disk.config',
  firmwareVariables: 'firmware.vars',
} as const;

export const FIRMWARE = {
  uefi: { code: '/usr/share/OVMF/OVMF_CODE_4M.fd', variables: '/usr/share/OVMF/OVMF_VARS_4M.fd' },
  secureBoot: { code: '/usr/share/OVMF/OVMF_CODE_4M.ms.fd', variables: '/usr/share/OVMF/OVMF_VARS_4M.ms.fd' },
} as const;

/** Arguments of QEMU for a guest. Nothing here depends on where the guest's folder is. */
export const argumentsFor = (guest: GuestDefinition, execution: Execution): string[] => {
  const { serverId } = guest.mark;
  const isQ35 = guest.machine.startsWith('pc-q35');
  const devices: string[] = [];
  const needsScsi = guest.diskBus === 'scsi' || (isQ35 && guest.cdroms.length > 0);
  if (needsScsi) devices.push('-device', 'virtio-scsi-pci,id=scsi0');
  let ide = 0;

  guest.disks.forEach((disk, i) => {
    const node = `disk${i}`;
    devices.push('-blockdev', JSON.stringify(blockNode(node, disk.file, disk.format, false)));
    const boot = i === 0 && !guest.cdroms.some((drive) => drive.boot) ? ',bootindex=1' : '';
    const common = `drive=${node},id=dev-${node},serial=${disk.serial}${boot}`;
    if (guest.diskBus === 'virtio') devices.push('-device', `virtio-blk-pci,${common}`);
    else if (guest.diskBus === 'scsi') devices.push('-device', `scsi-hd,bus=scsi0.0,${common}`);
    else devices.push('-device', `ide-hd,${ideSlot(ide++, isQ35)},${common}`);
  });
  guest.cdroms.forEach((drive, i) => {
    const node = `cd${i}`;
    devices.push('-blockdev', JSON.stringify(blockNode(node, drive.file, 'raw', true)));
    const common = `drive=${node},id=dev-${node}${drive.boot ? ',bootindex=1' : ''}`;
    // The cloud kernels of distributions have no AHCI driver, so q35 gets its CD on SCSI.
    devices.push('-device', isQ35 ? `scsi-cd,bus=scsi0.0,${common}` : `ide-cd,${ideSlot(ide++, isQ35)},${common}`);
  });
  guest.nics.forEach((nic, i) => {
    const model = nic.model ?? guest.nicModel;
    const mtu = model === 'virtio-net-pci' ? `,host_mtu=${nic.mtu}` : '';
    devices.push('-netdev', `tap,id=net${i},ifname=${nic.tap},script=no,downscript=no,vhost=off`);
    devices.push('-device', `${model},netdev=net${i},id=nic${i},mac=${nic.mac},romfile=${mtu}`);
  });

  return [
    ...['-name', `guest=${guestName(guest)}`],
    ...['-uuid', serverId],
    // Guests tell by these names that they run on a cloud of this kind.
    ...[
      '-smbios',
      `type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,serial=${serverId},uuid=${serverId}`,
    ],
    ...['-nodefaults', '-no-user-config', '-S', '-no-shutdown'],
    ...[
      '-machine',
      `${guest.machine},vmport=off,dump-guest-core=off${guest.firmware === 'secureBoot' ? ',smm=on' : ''}`,
    ],
    ...['-accel', execution.accel === 'kvm' ? 'kvm' : 'tcg,thread=multi,tb-size=64'],
    ...['-cpu', execution.cpuModel],
    ...['-m', `${guest.memoryMib}M`],
    ...['-smp', String(guest.vcpus)],
    ...['-sandbox', 'on,obsolete=deny,spawn=deny,resourcecontrol=deny'],
    ...(execution.runAs === null ? [] : ['-runas', `${execution.runAs}:${execution.runAs}`]),
    ...['-rtc', 'base=utc'],
    ...['-boot', 'strict=on'],
    ...firmwareArguments(guest),
    ...['-qmp', `unix:${FILES.qmp},server=on,wait=off`],
    ...['-pidfile', FILES.pid],
    ...['-chardev', `socket,id=serial0,path=${FILES.serial},server=on,wait=off,logfile=${FILES.console},logappend=on`],
    ...['-serial', 'chardev:serial0'],
    ...['-vnc', `unix:${FILES.vnc}`],
    ...(guest.video === null ? [] : ['-device', guest.video]),
    ...devices,
    ...['-device', 'virtio-balloon-pci'],
    ...['-device', 'virtio-rng-pci'],
  ];
};

/** Four places on the two IDE channels of i440FX; one per port on the AHCI of q35. */
const ideSlot = (n: number, isQ35: boolean): string =>
  isQ35 ? `bus=ide.${n}` : `bus=ide.${Math.floor(n / 2)},unit=${n % 2}`;

/** The format is always said: QEMU must never guess it from bytes that a guest can write. */
const blockNode = (node: string, file: string, format: 'raw' | 'qcow2', readOnly: boolean) => ({
  driver: format,
  'node-name': node,
  'read-only': readOnly,
  ...(readOnly ? {} : { discard: 'unmap' }),
  file: { driver: 'file', filename: file, ...(readOnly ? {} : { discard: 'unmap' }) },
});

const firmwareArguments = ({ firmware }: GuestDefinition): string[] =>
  firmware === 'bios'
    ? []
    : [
        ...(firmware === 'secureBoot' ? ['-global', 'driver=cfi.pflash01,property=secure,value=on'] : []),
        ...['-drive', `if=pflash,format=raw,unit=0,readonly=on,file=${FIRMWARE[firmware].code}`],
        ...['-drive', `if=pflash,format=raw,unit=1,file=${FILES.firmwareVariables}`],
      ];
