import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { install, missing, packagesOf } from '../../services/debian.mjs';
import { debianRoot, keptParts, must, VIRTIO_RAMDISK } from '../parts.mjs';
import { LAB_NEEDS } from './needs.mjs';

const here = dirname(fileURLToPath(import.meta.url));

/** Debian 12's Xen, and what its dom0 needs to start guests and to be reached. */
const PACKAGES = [
  ...['linux-image-amd64', 'xen-hypervisor-4.17-amd64', 'xen-hypervisor-common', 'xen-utils-4.17'],
  ...['iproute2', 'kmod', 'udev', 'dropbear-bin', 'nftables', 'e2fsprogs'],
  ...['qemu-system-xen', 'seabios'],
];
/** Sparse: guests' disks lie on it too. */
const DISK_GIB = 8;

/** @typedef {{ folder: string, xen: string, kernel: string, initrd: string, disk: string, key: string, hostKey: string }} Dom0 */

/** The same word, the same dom0: what it is made of, but for the versions that the mirror has today. */
const recipe = () => {
  const hash = createHash('sha256').update(PACKAGES.join());
  for (const file of ['block', 'dom0.mjs', 'init', '../parts.mjs'])
    hash.update(file).update(readFileSync(join(here, file)));
  return hash.digest('hex').slice(0, 16);
};

/** @param {string} folder @returns {Dom0} */
const parts = (folder) => ({
  folder,
  xen: join(folder, 'xen.elf'),
  kernel: join(folder, 'vmlinuz'),
  initrd: join(folder, 'initrd.img'),
  disk: join(folder, 'dom0.ext4'),
  key: join(folder, 'id'),
  hostKey: join(folder, 'host_key.pub'),
});

/** Makes a machine's parts of a root file system: $1 the root, $2 where they go. */
const PACK = `
set -eu
root=$1 lab=$2
${VIRTIO_RAMDISK}
install -m755 ${JSON.stringify(join(here, 'init'))} "$root/sbin/lab-init"
mkdir -p "$root/boot/lab"; cp "$root"/boot/vmlinuz-* "$root/boot/lab/vmlinuz"
mv "$root/etc/xen/scripts/block" "$root/etc/xen/scripts/block.debian"
install -m755 ${JSON.stringify(join(here, 'block'))} "$root/etc/xen/scripts/block"
mkdir -p "$root/etc/dropbear" "$root/root/.ssh"
chmod 700 "$root/root" "$root/root/.ssh"
chroot "$root" dropbearkey -t ed25519 -f /etc/dropbear/key | grep ^ssh- >"$lab/host_key.pub"
install -m600 "$lab/id.pub" "$root/root/.ssh/authorized_keys"
gunzip -c "$root"/boot/xen-*-amd64.gz >"$lab/xen.elf"
cp "$root"/boot/vmlinuz-* "$lab/vmlinuz"
cp "$root"/boot/initrd.img-* "$lab/initrd.img"
truncate -s ${DISK_GIB}G "$lab/dom0.ext4"
mke2fs -q -F -t ext4 -O ^has_journal -m 0 -d "$root" "$lab/dom0.ext4"
`;

/**
 * Xen and its dom0 as files, built from Debian packages once and kept in `cache`.
 * @param {string} cache @param {(line: string) => void} say @returns {Promise<Dom0>}
 * @throws Refused
 */
export const dom0 = async (cache, say) => {
  await install(packagesOf(missing(LAB_NEEDS)), say);
  const build = async (folder) => {
    await must('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, 'id')]);
    const root = join(folder, 'root');
    await debianRoot(root, PACKAGES);
    await must('sh', ['-c', PACK, 'pack', root, folder]);
    rmSync(root, { recursive: true });
  };
  return parts(await keptParts({ cache, name: 'dom0', recipe: recipe() }, build, say));
};
