import { attachedName, attachedNode, Channels, diskDevice, localNode, type Properties, romNode } from './blocks.js';
import { type GuestDefinition, guestName, type LocalDisk, type Nic } from './definition.js';
import { DISK_FILES, FILES, TPM_SOCKET } from './files.js';
import { cpuArgument, type Execution } from './guest-cpu.js';
import { fixedPlace, isQ35, placeOf, portArguments } from './slots.js';

export const FIRMWARE = {
  uefi: { code: '/usr/share/OVMF/OVMF_CODE_4M.fd', variables: '/usr/share/OVMF/OVMF_VARS_4M.fd' },
  secureBoot: { code: '/usr/share/OVMF/OVMF_CODE_4M.ms.fd', variables: '/usr/share/OVMF/OVMF_VARS_4M.ms.fd' },
} as const;

/** File descriptors of the network devices begin here; what starts QEMU opens them. */
export const FIRST_DESCRIPTOR = 10;

/** Name of the channel to the guest agent. */
export const AGENT_CHANNEL = 'agent0';

/** Name of the node that holds what the guest remembered. */
export const MEMORY_NODE = 'memory';

/** Threads of QEMU that empty large pages side by side. */
const PAGE_THREADS = 16;
/** Of Hyper-V, as Nova gives them to Windows; QEMU takes them under TCG too, where they do nothing. */
const ENLIGHTENMENTS = ['hv_relaxed=on', 'hv_vapic=on', 'hv_spinlocks=0x1fff', 'hv_time=on'];

/** Arguments of QEMU for a guest. Nothing here depends on where the guest's folder is. */
export const argumentsFor = (guest: GuestDefinition, execution: Execution, extra: readonly string[] = []): string[] => {
  const { serverId } = guest.mark;
  return [
    ...['-name', `guest=${guestName(guest)}`],
    ...['-uuid', serverId],
    // Guests tell by these names that they run on a cloud of this kind.
    ...[
      '-smbios',
      `type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,serial=${serverId},uuid=${serverId}`,
    ],
    ...['-nodefaults', '-no-user-config', '-S', '-no-shutdown'],
    ...['-accel', execution.accel === 'kvm' ? 'kvm' : 'tcg,thread=multi,tb-size=64'],
    ...['-cpu', cpuArgument(execution, guest.windows && execution.accel === 'kvm' ? ENLIGHTENMENTS : [])],
    ...machineArguments(guest),
    ...['-sandbox', 'on,obsolete=deny,spawn=deny,resourcecontrol=deny'],
    ...(execution.runAs === null ? [] : ['-runas', `${execution.runAs}:${execution.runAs}`]),
    ...['-rtc', guest.windows ? 'base=localtime,driftfix=slew' : 'base=utc'],
    ...['-boot', 'strict=on'],
    ...bootArguments(guest),
    ...firmwareArguments(guest),
    ...['-qmp', `unix:${FILES.qmp},server=on,wait=off`],
    ...['-qmp', `unix:${FILES.descriptors},server=on,wait=off`],
    ...['-pidfile', FILES.pid],
    ...['-chardev', `socket,id=serial0,path=${FILES.serial},server=on,wait=off,logfile=${FILES.console},logappend=on`],
    ...['-serial', 'chardev:serial0'],
    ...['-vnc', `unix:${FILES.vnc}`],
    ...(guest.video === null ? [] : ['-device', `${guest.video},${fixedPlace(guest, 'video')}`]),
    ...portArguments(guest),
    ...driveArguments(guest),
    ...guest.nics.flatMap((nic, i) => nicArguments(guest, nic, FIRST_DESCRIPTOR + i)),
    ...(guest.hasAgent ? agentArguments(guest) : []),
    ...(guest.tpm === null ? [] : tpmArguments(guest.tpm)),
    ...(guest.tablet ? ['-device', `qemu-xhci,${fixedPlace(guest, 'usb')}`, '-device', 'usb-tablet'] : []),
    ...(guest.watchdog === null
      ? []
      : ['-device', `i6300esb,${fixedPlace(guest, 'watchdog')}`, '-action', `watchdog=${guest.watchdog}`]),
    ...['-device', `virtio-balloon-pci,id=balloon0,${fixedPlace(guest, 'balloon')}`],
    ...['-device', `virtio-rng-pci,${fixedPlace(guest, 'random')}`],
    ...extra,
  ];
};

const json = (properties: Properties): string => JSON.stringify(properties);

const machineArguments = (guest: GuestDefinition): string[] => {
  const { memoryMib, topology, hugePages } = guest;
  const backend = hugePages === null ? '' : ',memory-backend=ram0';
  const { sockets, cores, threads } = topology;
  return [
    ...[
      '-machine',
      `${guest.machine},vmport=off,dump-guest-core=off${guest.firmware === 'secureBoot' ? ',smm=on' : ''}${backend}`,
    ],
    ...['-m', `${memoryMib}M`],
    ...['-smp', `${guest.vcpus},sockets=${sockets},cores=${cores},threads=${threads}`],
    ...(hugePages === null
      ? []
      : [
          '-object',
          [
            `memory-backend-memfd,id=ram0,size=${memoryMib}M,hugetlb=on,hugetlbsize=${hugePages}K,share=off`,
            `prealloc=on,prealloc-threads=${Math.min(guest.vcpus, PAGE_THREADS)}`,
          ].join(','),
        ]),
  ];
};

/**
 * The rescue disk comes first and is booted from; else the CD with the image, or the root disk. A firmware shows to what
 * it boots those disks only that it may boot from, so a rescued guest's own root comes second.
 */
export const driveArguments = (guest: GuestDefinition): string[] => {
  const { rescue } = guest;
  const cdroms = rescue?.cdroms ?? guest.cdroms;
  const disks: readonly LocalDisk[] = [...(rescue ? [rescue.disk] : []), ...guest.disks];
  const bootsFromDisk = !cdroms.some((drive) => drive.boot);
  const channels = new Channels(isQ35(guest));
  const needsScsi =
    cdroms.some(() => guest.cdromBus === 'scsi') ||
    [rescue?.bus, guest.diskBus, ...guest.attached.map((d) => d.bus)].includes('scsi');
  return [
    ...(needsScsi ? ['-device', `${guest.scsiController},id=scsi0,${fixedPlace(guest, 'scsi')}`] : []),
    ...disks.flatMap((disk, i) => [
      ...['-blockdev', json(localNode(disk))],
      ...[
        '-device',
        json(
          diskDevice(
            guest,
            {
              node: disk.name,
              bus: (disk.name === 'rescue' && rescue?.bus) || guest.diskBus,
              serial: disk.serial,
              slot: disk.slot,
              bootIndex: bootsFromDisk && (i === 0 || (rescue && disk.name === 'root')) ? i + 1 : null,
            },
            channels,
          ),
        ),
      ],
    ]),
    ...cdroms.flatMap((drive, i) => {
      const node = `cd${i}`;
      const device: Properties = {
        driver: guest.cdromBus === 'scsi' ? 'scsi-cd' : 'ide-cd',
        id: `dev-${node}`,
        drive: node,
        ...(guest.cdromBus === 'scsi' ? { bus: 'scsi0.0', 'scsi-id': 32 + i } : channels.next()),
        ...(drive.boot ? { bootindex: 1 } : {}),
      };
      return ['-blockdev', json(romNode(node, drive.file)), '-device', json(device)];
    }),
    ...guest.attached.flatMap((disk) => [
      ...['-blockdev', json(attachedNode(disk, null))],
      ...['-device', json(attachedDevice(guest, disk, channels))],
    ]),
  ];
};

export const attachedDevice = (
  guest: GuestDefinition,
  disk: GuestDefinition['attached'][number],
  channels: Channels | null,
): Properties =>
  diskDevice(
    guest,
    {
      node: attachedName(disk),
      bus: disk.bus,
      serial: disk.serial,
      slot: disk.slot,
      // Its own come first.
      bootIndex: disk.bootIndex === null ? null : disk.bootIndex + 2,
    },
    channels,
  );

export const netdevName = ({ portId }: Pick<Nic, 'portId'>): string => `net-${portId}`;

export const nicDevice = (guest: GuestDefinition, nic: Nic): Properties => ({
  driver: nic.model,
  id: `dev-${netdevName(nic)}`,
  netdev: netdevName(nic),
  mac: nic.mac,
  romfile: '',
  ...placeOf(guest, nic.slot),
  ...(nic.model === 'virtio-net-pci' ? { host_mtu: nic.mtu } : {}),
});

const nicArguments = (guest: GuestDefinition, nic: Nic, descriptor: number): string[] => [
  ...['-netdev', `tap,id=${netdevName(nic)},fd=${descriptor}`],
  ...['-device', json(nicDevice(guest, nic))],
];

const agentArguments = (guest: GuestDefinition): string[] => [
  ...['-device', `virtio-serial-pci,id=serial,${fixedPlace(guest, 'serial')}`],
  ...['-chardev', `socket,id=${AGENT_CHANNEL},path=${FILES.agent},server=on,wait=off`],
  ...['-device', `virtserialport,bus=serial.0,chardev=${AGENT_CHANNEL},name=org.qemu.guest_agent.0`],
];

const tpmArguments = (model: NonNullable<GuestDefinition['tpm']>): string[] => [
  ...['-chardev', `socket,id=tpm0,path=${FILES.tpm}/${TPM_SOCKET}`],
  ...['-tpmdev', 'emulator,id=tpm,chardev=tpm0'],
  ...['-device', `${model},tpmdev=tpm`],
];

const kernelArguments = (
  folder: string,
  { ramdisk, commandLine }: NonNullable<GuestDefinition['directBoot']>,
): string[] => [
  ...['-kernel', `${folder}/${DISK_FILES.kernel}`],
  ...(ramdisk ? ['-initrd', `${folder}/${DISK_FILES.ramdisk}`] : []),
  ...['-append', commandLine],
];

const bootArguments = ({ directBoot, rescue }: GuestDefinition): string[] => {
  const [folder, starts] = rescue ? [FILES.rescue, rescue.directBoot] : [FILES.disks, directBoot];
  return starts ? kernelArguments(folder, starts) : [];
};

const firmwareArguments = ({ firmware }: GuestDefinition): string[] => [
  ...(firmware === 'bios'
    ? []
    : [
        ...(firmware === 'secureBoot' ? ['-global', 'driver=cfi.pflash01,property=secure,value=on'] : []),
        ...['-drive', `if=pflash,format=raw,unit=0,readonly=on,file=${FIRMWARE[firmware].code}`],
        ...['-drive', `if=pflash,format=raw,unit=1,file=${FILES.disks}/${DISK_FILES.firmwareVariables}`],
      ]),
];
