const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';

/** The library that shifts the clock of a process. */
export const FAKETIME = `/usr/lib/${machine}-linux-gnu/faketime/libfaketime.so.1`;

/** What the faults for root need. @type {readonly import('../services/debian.mjs').Need[]} */
export const NEEDS = [
  ['unshare', 'util-linux'],
  ['mkfs.ext4', 'e2fsprogs'],
  ['ip', 'iproute2'],
  ['nbdkit', 'nbdkit'],
  ['nbdfuse', 'libnbd-bin'],
  [FAKETIME, 'libfaketime'],
];
