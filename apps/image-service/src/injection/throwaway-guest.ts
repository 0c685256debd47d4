import { once } from 'node:events';
import type { FileHandle } from 'node:fs/promises';
import { type Bytes, ms } from '@omnivisor/contracts';
import { EMULATOR, killGroup, type Sandbox, toolPath } from '../sandbox/sandbox.js';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const MEMORY = 768;
const DEADLINE = ms(20 * 60_000);
const SAID = 64 * 1024;

/** What the guest's initial RAM disk can drive, and the device QEMU gives it. */
const BUSES: readonly (readonly [drivers: readonly string[], device: string])[] = [
  [['virtio_pci', 'virtio_blk'], 'virtio-blk-pci'],
  [['ata_piix'], 'ide-hd'],
  [['virtio_pci', 'virtio_scsi'], 'virtio-scsi-pci'],
  [['vmw_pvscsi'], 'pvscsi'],
];

/** The device of a disk that a guest with these drivers finds; undefined when QEMU has none. */
export const deviceFor = (bootDrivers: readonly string[]): string | undefined =>
  BUSES.find(([drivers]) => drivers.every((d) => bootDrivers.includes(d)))?.[1];

/**
 * Starts a kernel once, emulated, without a network, in the sandbox, and waits until the machine is off.
 * @param disk a qcow2 that the guest may change
 * @returns what it wrote to its console, the end of it
 */
export const runThrowawayGuest = async (
  sandbox: Sandbox,
  parts: { readonly kernel: FileHandle; readonly initramfs: FileHandle; readonly disk: FileHandle },
  device: string,
  diskBytes: number,
  signal: AbortSignal,
): Promise<string> => {
  const scsi = device === 'pvscsi' || device === 'virtio-scsi-pci';
  const child = await sandbox.start(
    EMULATOR,
    [
      ...['-accel', 'tcg,thread=single,tb-size=128', '-M', 'pc', '-cpu', 'max', '-m', String(MEMORY)],
      ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-nic', 'none'],
      ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
      ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
      ...['-kernel', toolPath(0), '-initrd', toolPath(1)],
      ...['-append', 'console=ttyS0 rdinit=/init panic=-1 quiet loglevel=4 tsc=unstable selinux=0 nokaslr'],
      ...['-drive', `if=none,id=root,cache=unsafe,driver=qcow2,file.driver=file,file.filename=${toolPath(2)}`],
      ...(scsi ? ['-device', device, '-device', 'scsi-hd,drive=root'] : ['-device', `${device},drive=root`]),
    ],
    {
      files: [
        { handle: parts.kernel, write: false },
        { handle: parts.initramfs, write: false },
        { handle: parts.disk, write: true },
      ],
      limits: { memory: (4 * GIB) as Bytes, cpu: 1_200, file: diskBytes as Bytes, wall: DEADLINE },
      signal,
    },
  );
  let said = '';
  const listen = (text: string) => {
    said = (said + text).slice(-SAID);
  };
  child.stdout!.setEncoding('utf8').on('data', listen);
  child.stderr!.setEncoding('utf8').on('data', listen);
  try {
    await once(child, 'close');
    return said;
  } finally {
    killGroup(child);
  }
};
