import { install, missing, packagesOf } from '../services/debian.mjs';
import { FIRMWARE, HOST } from '../start/needs.mjs';

/** What integration and end-to-end tests run or read. @type {import('../services/debian.mjs').Need[]} */
const NEEDS = [
  ...HOST,
  ...FIRMWARE,
  ['xorriso', 'xorriso'],
  ['busybox', 'busybox-static'],
  ['mcopy', 'mtools'],
  ['cpio', 'cpio'],
  ['zstd', 'zstd'],
  ['mkfs.xfs', 'xfsprogs'],
  ['mkfs.vfat', 'dosfstools'],
  ['mkntfs', 'ntfs-3g'],
  ['sfdisk', 'fdisk'],
  ['chromium-headless-shell', 'chromium-headless-shell'],
  ['ssh', 'openssh-client'],
  ['sshd', 'openssh-server'],
];

/**
 * Installs them.
 * @param {(line: string) => void} say
 * @returns {Promise<string | null>} null, or what is missing and why it could not be installed
 */
export const installPackages = async (say) => {
  const packages = packagesOf(missing(NEEDS));
  try {
    await install(packages, say);
    return null;
  } catch (error) {
    return `${packages.join(' ')} missing: ${error.message}`;
  }
};
