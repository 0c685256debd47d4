import type { HypervisorKind } from '@omnivisor/contracts';
import type { BootPlan } from '../guest/inspect-guest.js';

/** What a guest has to load before its root disk is there, and for its network. */
const DRIVERS: Readonly<Record<HypervisorKind, readonly string[]>> = {
  qemu: ['virtio_pci', 'virtio_blk', 'virtio_scsi', 'virtio_net', 'sd_mod'],
  xen: ['xen_blkfront', 'xen_netfront'],
  xenserver: ['xen_blkfront', 'xen_netfront'],
  vsphere: ['vmw_pvscsi', 'vmxnet3', 'sd_mod'],
  hyperv: ['hv_vmbus', 'hv_storvsc', 'hv_netvsc', 'hv_utils', 'sd_mod'],
};

export const driversFor = (hypervisors: readonly HypervisorKind[]): string[] => [
  ...new Set(hypervisors.flatMap((h) => DRIVERS[h])),
];

export const DONE = 'omnivisor-inject: done';
export const FAILED = 'omnivisor-inject: failed';

const device = (partition: number): string => (partition === 0 ? '' : String(partition));
/** Kernels read the older ones by the driver of ext4. */
const fileSystem = (kind: string): string => (kind === 'ext2' || kind === 'ext3' ? 'ext4' : kind);

/** What the kernel asks for later it looks for in the initial RAM disk, so it is loaded before. */
const modulesOf = (kind: string): string =>
  kind === 'vfat' ? 'vfat nls_cp437 nls_ascii nls_iso8859-1 nls_utf8' : fileSystem(kind);

/** The guest's own programs and modules do it: its initial RAM disk may know the file system of its root only. */
const mountBoot = ({ kind, partition }: NonNullable<BootPlan['bootPartition']>): string =>
  `for module in ${modulesOf(kind)}; do modprobe $module 2>/dev/null; done
mount -t ${fileSystem(kind)} -o rw "$1"${device(partition)} /boot || result='${FAILED}: /boot cannot be mounted'`;

/**
 * Runs instead of the init of the guest's initial RAM disk: mounts the guest's file systems, lets the guest's own tools
 * build a new one with the drivers, and switches the machine off. No text of the guest gets into it.
 */
export const injectionInit = (plan: BootPlan, drivers: readonly string[]): string => {
  const { root, bootPartition, release, initramfsPath } = plan;
  const names = drivers.join(' ');
  return `#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /proc /sys /dev /omnivisor-root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
off() { echo "$1"; sync; echo o >/proc/sysrq-trigger; sleep 60; }
for module in virtio_pci virtio_blk virtio_scsi ata_piix ahci sd_mod vmw_pvscsi nvme crc32c ${fileSystem(root.kind)}; do
  modprobe $module 2>/dev/null
done
disk= tries=0
while [ -z "$disk" ] && [ $tries -lt 100 ]; do
  for name in vda sda nvme0n1p hda; do
    [ -b /dev/"$name"${device(root.partition)} ] && disk=/dev/$name
  done
  tries=$((tries + 1))
  [ -n "$disk" ] || sleep 0.2 2>/dev/null || sleep 1
done
mount -t ${fileSystem(root.kind)} -o rw "$disk"${device(root.partition)} /omnivisor-root || off '${FAILED}: the root file system cannot be mounted'
for folder in proc sys dev; do mount -o bind /$folder /omnivisor-root/$folder; done
mount -t tmpfs tmpfs /omnivisor-root/run
# A RAM disk of dracut has few programs, but the C library for those of its guest.
PATH=$PATH:/omnivisor-root/usr/sbin:/omnivisor-root/usr/bin:/omnivisor-root/sbin:/omnivisor-root/bin
cat >/omnivisor-root/run/omnivisor-inject <<'END'
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
set -e
has() { [ -x /usr/bin/$1 ] || [ -x /usr/sbin/$1 ]; }
# Where dracut is all there is, update-initramfs may be a way to call it.
if has mkinitramfs; then
  settings=/etc/initramfs-tools/modules
  mkdir -p /etc/initramfs-tools
  touch $settings
  for module in ${names}; do
    grep -qx $module $settings || echo $module >>$settings
  done
  update-initramfs -u -k ${release}
elif has dracut; then
  settings=/etc/dracut.conf.d/omnivisor.conf
  mkdir -p /etc/dracut.conf.d /var/tmp
  echo 'add_drivers+=" ${names} "' >$settings
  # The devices of this machine are not those of the next.
  dracut --force --no-hostonly ${initramfsPath} ${release}
else
  echo 'omnivisor-inject: it has neither update-initramfs nor dracut'
  exit 1
fi
# SELinux is off here and labels nothing, and later lets few read what has no label.
policy=$(sed -n 's/^SELINUXTYPE=//p' /etc/selinux/config 2>/dev/null || true)
contexts=/etc/selinux/$policy/contexts/files/file_contexts
if [ -f "$contexts" ] && has setfiles; then setfiles -F "$contexts" $settings ${initramfsPath}; fi
END
cat >/omnivisor-root/run/omnivisor-init <<'END'
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
result=
${bootPartition ? mountBoot(bootPartition) : ''}
if [ -n "$result" ]; then :; elif /bin/sh /run/omnivisor-inject; then result='${DONE}'; else result='${FAILED}: its tools did not build it'; fi
umount /boot 2>/dev/null
sync
mount -o remount,ro /
echo "$result"
echo o >/proc/sysrq-trigger
sleep 60
END
exec chroot /omnivisor-root /bin/sh /run/omnivisor-init "$disk"
`;
};

const align = (length: number): Buffer => Buffer.alloc((4 - (length % 4)) % 4);

const entry = (name: string, mode: number, bytes: Buffer): Buffer => {
  const path = Buffer.from(`${name}\0`);
  const fields = [0, mode, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, path.length, 0];
  const header = Buffer.from(`070701${fields.map((f) => f.toString(16).padStart(8, '0')).join('')}`);
  return Buffer.concat([header, path, align(header.length + path.length), bytes, align(bytes.length)]);
};

/** An archive that replaces the init of an initial RAM disk when it comes behind it. */
export const initArchive = (script: string): Buffer =>
  Buffer.concat([entry('init', 0o100755, Buffer.from(script)), entry('TRAILER!!!', 0, Buffer.alloc(0))]);
