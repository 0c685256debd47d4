import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { which } from '../services/process.mjs';

/** What integration and end-to-end tests run, and the Debian package it is in. */
const NEEDS = [
  ['qemu-system-x86_64', 'qemu-system-x86'],
  ['qemu-img', 'qemu-utils'],
  ['dnsmasq', 'dnsmasq-base'],
  ['nft', 'nftables'],
  ['ip', 'iproute2'],
  ['xorriso', 'xorriso'],
  ['mcopy', 'mtools'],
  ['mke2fs', 'e2fsprogs'],
  ['cpio', 'cpio'],
  ['zstd', 'zstd'],
  ['ssh', 'openssh-client'],
];

const has = (command) =>
  which(command) !== undefined || existsSync(`/usr/sbin/${command}`) || existsSync(`/sbin/${command}`);

/** @returns {string[]} Debian packages whose command is not there */
export const missingPackages = () => NEEDS.filter(([command]) => !has(command)).map(([, name]) => name);

/**
 * Installs them with apt as root.
 * @param {(line: string) => void} say
 * @returns {string | null} null, or what is missing and why it could not be installed
 */
export const installPackages = (say) => {
  const missing = missingPackages();
  if (missing.length === 0) return null;
  const list = missing.join(' ');
  if (process.getuid?.() !== 0) return `${list} missing; only root can install them`;
  if (!which('apt-get')) return `${list} missing, and this system has no apt-get`;
  say(`apt-get install ${list}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (const args of [
    ['update', '-q'],
    ['install', '-y', '-q', '--no-install-recommends', ...missing],
  ]) {
    const done = spawnSync('apt-get', args, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    if (done.status !== 0)
      return `${list} missing; apt-get ${args[0]}: ${(done.stderr ?? '').trim().split('\n').pop()}`;
  }
  return null;
};
