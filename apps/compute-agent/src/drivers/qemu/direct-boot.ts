import type { GuestSpec } from '../hypervisor-driver.js';
import type { GuestDefinition } from './definition.js';

export const directBootOf = ({ directBoot, image }: GuestSpec): GuestDefinition['directBoot'] =>
  directBoot && {
    ramdisk: directBoot.ramdisk !== null,
    commandLine: directBoot.commandLine ?? commandLine(image.properties.hw_disk_bus ?? 'virtio'),
  };

/** Nova's, for the names that Linux gives disks of this bus. */
const commandLine = (diskBus: string) => `root=/dev/${diskBus === 'virtio' ? 'vda' : 'sda'} console=tty0 console=ttyS0`;
