import { hasApt } from '../services/debian.mjs';

/** What the test image is built with. @type {import('../services/debian.mjs').Need[]} */
export const IMAGE_NEEDS = [
  ['/usr/sbin/dropbear', 'dropbear-bin'],
  ['/usr/bin/syslinux', 'syslinux'],
  ['/usr/lib/syslinux/mbr/gptmbr.bin', 'syslinux-common'],
  ['mcopy', 'mtools'],
  ['mkfs.vfat', 'dosfstools'],
  ['mke2fs', 'e2fsprogs'],
  ['sfdisk', 'fdisk'],
  ['depmod', 'kmod'],
  ['cpio', 'cpio'],
  ['zstd', 'zstd'],
  ['qemu-img', 'qemu-utils'],
];

/** @returns {string | null} why the test image cannot be built on this kind of system */
export const whyNoImage = () =>
  process.arch === 'x64' && hasApt()
    ? null
    : 'the test image is built from Debian packages: this needs Debian 12 or its like on x86-64';
