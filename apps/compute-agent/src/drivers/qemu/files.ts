import { RELAY } from '../common/migration/ticket.js';

/** Files in a guest's folder; QEMU runs in that folder and opens them by these names before it lets go of root. */
export const FILES = {
  definition: 'guest.json',
  stopped: 'stopped.json',
  started: 'started.json',
  /** Two control sockets: QEMU serves one client at a time on each, and takes file descriptors on the second. */
  qmp: 'qmp.sock',
  descriptors: 'fds.sock',
  vnc: 'vnc.sock',
  serial: 'serial.sock',
  agent: 'agent.sock',
  /** State, socket and pid of the emulated TPM; its process runs in this folder. */
  tpm: 'tpm',
  console: 'console.log',
  pid: 'qemu.pid',
  stderr: 'qemu.log',
  /** What the guest remembered when it was suspended. */
  memory: 'memory.qcow2',
  /** Folder of its own disks; a link where they lie on storage that several hosts have. */
  disks: 'disks',
  /** Folder of what it is rescued with. */
  rescue: 'rescue',
  incoming: 'incoming.sock',
  relay: RELAY,
  outgoing: 'outgoing.sock',
} as const;

/** Files in the folder of disks. */
export const DISK_FILES = {
  base: 'base.img',
  root: 'disk.qcow2',
  ephemeralBase: 'ephemeral.img',
  ephemeral: 'ephemeral.qcow2',
  swap: 'swap.img',
  configDrive: 'config.iso',
  kernel: 'kernel',
  ramdisk: 'ramdisk',
  firmwareVariables: 'firmware.vars',
} as const;

/** In the folder of the TPM. */
export const TPM_SOCKET = 'control.sock';
