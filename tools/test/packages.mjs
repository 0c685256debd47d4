import { install, missing, packagesOf } from '../services/debian.mjs';

/** What integration and end-to-end tests run. @type {import('../services/debian.mjs').Need[]} */
const NEEDS = [
  ['qemu-system-x86_64', 'qemu-system-x86'],
  ['qemu-img', 'qemu-utils'],
  ['dnsmasq', 'dnsmasq-base'],
  ['nft', 'nftables'],
  ['ip', 'iproute2'],
  ['sysctl', 'procps'],
  ['xorriso', 'xorriso'],
  ['mcopy', 'mtools'],
  ['mke2fs', 'e2fsprogs'],
  ['cpio', 'cpio'],
  ['zstd', 'zstd'],
  ['ssh', 'openssh-client'],
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
