import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { IMAGE_NEEDS, whyNoImage } from '../image/needs.mjs';
import { hasApt, missing, packagesOf } from '../services/debian.mjs';
import { natsPackages } from '../services/nats.mjs';
import { bootstrapDone } from './bootstrap.mjs';

/** What a host with real guests runs. @type {import('../services/debian.mjs').Need[]} */
export const HOST = [
  ['qemu-system-x86_64', 'qemu-system-x86'],
  ['qemu-img', 'qemu-utils'],
  ['dnsmasq', 'dnsmasq-base'],
  ['nft', 'nftables'],
  ['ip', 'iproute2'],
  ['sysctl', 'procps'],
  ['modprobe', 'kmod'],
  ['mkfs.ext4', 'e2fsprogs'],
  ['ssh', 'openssh-client'],
];

/** For guests that boot by UEFI. Other systems have it elsewhere, and the driver looks where Debian has it. */
export const FIRMWARE = [['/usr/share/OVMF/OVMF_CODE_4M.ms.fd', 'ovmf']];

/** How other systems call Debian's packages, where it is known. */
const ELSEWHERE = {
  fedora: {
    install: 'dnf install',
    names: {
      'qemu-system-x86': 'qemu-system-x86-core',
      'qemu-utils': 'qemu-img',
      'dnsmasq-base': 'dnsmasq',
      iproute2: 'iproute',
      procps: 'procps-ng',
      'openssh-client': 'openssh-clients',
    },
  },
  arch: {
    install: 'pacman -S',
    names: {
      'qemu-utils': 'qemu-img',
      'dnsmasq-base': 'dnsmasq',
      procps: 'procps-ng',
      'openssh-client': 'openssh',
      python3: 'python',
      'python3-pip': 'python-pip',
    },
  },
};

/** @param {string} home */
const cacheOf = (home) => join(home, 'data', 'cache');

/** Whether a cloud still has to get its test image. */
export const dueImage = (home, options) =>
  options.image && options.agents + options.fakeHosts > 0 && !bootstrapDone(join(home, 'data'), 'image');

/**
 * @param {import('../services/debian.mjs').Need[]} [lacking] of what it is built with
 * @returns {string | null} why this start makes no test image; what builds it is installed for real hypervisors only
 */
export const whyImageless = (options, lacking = missing(IMAGE_NEEDS)) =>
  whyNoImage() ??
  (options.agents > 0 || lacking.length === 0
    ? null
    : `it is built when these are installed: ${packagesOf(lacking).join(' ')}`);

/** @returns {Promise<string[]>} Debian packages that this start has to install */
export const missingPackages = async (home, options) => {
  const needs = [
    ...(options.agents > 0 ? HOST : []),
    ...(options.agents > 0 && hasApt() ? FIRMWARE : []),
    ...(dueImage(home, options) && whyImageless(options) === null ? IMAGE_NEEDS : []),
  ];
  const nats = process.env.NATS_URL ? [] : await natsPackages(cacheOf(home));
  return [...new Set([...packagesOf(missing(needs)), ...nats])];
};

const release = (file) => (existsSync(file) ? readFileSync(file, 'utf8') : '');

/** @param {readonly string[]} packages Debian's names @param {string} [osRelease] @returns {string} what to do on a system without apt */
export const howToInstall = (packages, osRelease = release('/etc/os-release')) => {
  const ids = /^ID=(.*)$/m.exec(osRelease)?.[1]?.replaceAll('"', '') ?? '';
  const known = ELSEWHERE[/** @type {keyof typeof ELSEWHERE} */ (ids)];
  const nats = packages.includes('python3-pip')
    ? '\nIn place of Python with pip, nats-server 2.10.23 or newer on PATH will do.'
    : '';
  if (known)
    return `install these first: ${known.install} ${packages.map((p) => known.names[/** @type {keyof typeof known.names} */ (p)] ?? p).join(' ')}${nats}`;
  return `install these first, by the names they have here: ${packages.join(' ')} (names of Debian)${nats}`;
};
