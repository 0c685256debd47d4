/** What the lab is made and run with. @type {import('../../services/debian.mjs').Need[]} */
export const LAB_NEEDS = [
  ['mmdebstrap', 'mmdebstrap'],
  ['qemu-system-x86_64', 'qemu-system-x86'],
  ['qemu-img', 'qemu-utils'],
  ['mke2fs', 'e2fsprogs'],
  ['ssh', 'openssh-client'],
  ['ssh-keygen', 'openssh-client'],
];
