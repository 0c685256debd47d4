#!/bin/bash
# Builds the test image: one small disk that boots by BIOS, by UEFI, by UEFI with secure boot and by Xen's pygrub, with
# the drivers of all hypervisors, and that behaves towards the cloud like an image with cloud-init.
#
#   build.sh OUT.qcow2 PACKAGES
#
# PACKAGES is a folder with the .deb files of the kernel, shim-signed, grub-efi-amd64-signed, busybox-static and
# qemu-guest-agent with its libraries: they are unpacked and never installed. It needs no mount and no loop device, but
# has to see itself as root (fakeroot or a user namespace will do), so that the files in the image belong to root.
set -euo pipefail
out=$1 packages=$2
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

BOOT_MIB=36 # Just above the least that FAT32 takes with clusters of 512 bytes; some firmware refuses FAT16.
ROOT_MIB=24
LABEL=omnivisor-root
MODULES="
  virtio_pci virtio_blk virtio_scsi virtio_net virtio_balloon virtio_console virtio-rng nvme
  ata_piix sd_mod sr_mod isofs vfat nls_ascii nls_cp437 nls_utf8 af_packet button evdev
  xen-blkfront xen-netfront
  hv_vmbus hv_storvsc hv_netvsc hv_utils hv_balloon hyperv-keyboard hyperv_fb
  vmw_pvscsi vmxnet3 vmw_balloon vmw_vmci vmw_vsock_vmci_transport"
# No KASLR, no self-tests, one serial port: each saves CPU where every instruction is emulated.
KERNEL_ARGS="net.ifnames=0 quiet loglevel=4 tsc=unstable mitigations=off random.trust_cpu=on nokaslr audit=0
  apparmor=0 cryptomgr.notests 8250.nr_uarts=1 rcupdate.rcu_expedited=1"
KERNEL_ARGS=$(echo $KERNEL_ARGS)

unpack() {
  for package in "$packages"/*.deb; do dpkg-deb -x "$package" "$work/packages"; done
  kernel=$(ls "$work/packages/lib/modules")
  busybox=$work/packages/bin/busybox
}

# A driver that is built in has no path; one that the kernel lacks stops the build.
copy_modules() {
  local to=$work/initramfs/lib/modules/$kernel from=$work/packages/lib/modules/$kernel
  depmod -b "$work/packages" "$kernel"
  for module in $MODULES; do
    modprobe -d "$work/packages" -S "$kernel" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
  done | sort -u >"$work/modules"
  while read -r file; do install -D -m644 "$file" "$to/${file#*/"$kernel"/}"; done <"$work/modules"
  cp "$from"/modules.{builtin,builtin.modinfo,order} "$to/"
  depmod -b "$work/initramfs" "$kernel"
}

make_initramfs() {
  local tree=$work/initramfs
  mkdir -p "$tree"/{bin,dev,proc,sys,mnt}
  copy_modules
  install -m755 "$here/initramfs/init" "$tree/init"
  cp "$here/initramfs/coldplug" "$tree/"
  cp "$busybox" "$tree/bin/"
  for applet in sh mount modprobe findfs switch_root sleep cat find sort ls uname; do
    ln -s busybox "$tree/bin/$applet"
  done
  (cd "$tree" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | zstd -q -19 >"$work/initrd.img"
}

make_root() {
  local tree=$work/root
  mkdir -p "$tree"/{bin,etc,dev,proc,sys,run,tmp,mnt,lib,root/.ssh,var/lib,var/log}
  ln -s bin "$tree/sbin"
  cp -r "$here/rootfs/." "$tree/"
  cp "$here/initramfs/coldplug" "$tree/etc/"
  cp -a "$work/initramfs/lib/modules" "$tree/lib/"
  chmod 755 "$tree"/bin/* "$tree"/etc/{rcS,udhcpc.sh} "$tree"/etc/acpi/PWRF/*
  cp "$busybox" "$tree/bin/"
  for applet in $("$busybox" --list); do
    [ -e "$tree/bin/$applet" ] || ln -s busybox "$tree/bin/$applet"
  done
  local libraries=$work/packages/usr/lib/x86_64-linux-gnu:$work/packages/lib/x86_64-linux-gnu
  for program in /usr/sbin/dropbear /usr/bin/dropbearkey "$work/packages/usr/sbin/qemu-ga"; do
    cp "$program" "$tree/bin/"
    for library in $(LD_LIBRARY_PATH=$libraries ldd "$program" | grep -o '/[^ ]*'); do
      local to=$tree${library#"$work/packages"}
      [ -e "$to" ] || install -D "$(realpath "$library")" "$to"
    done
  done
  truncate -s ${ROOT_MIB}M "$work/root.ext4"
  mke2fs -q -F -t ext4 -O ^has_journal -m 0 -L $LABEL -E root_owner=0:0 -d "$tree" "$work/root.ext4"
}

# One EFI system partition serves all four ways to boot.
make_boot() {
  local fat=$work/boot.fat bios_console="console=tty0 console=ttyS0,115200"
  truncate -s ${BOOT_MIB}M "$fat"
  mkfs.vfat -F32 -s1 -n OMNIBOOT "$fat" >/dev/null
  put() { mcopy -i "$fat" "$1" "::/$2"; }
  syslinux_config() {
    printf 'DEFAULT linux\nPROMPT 0\nTIMEOUT 1\nLABEL linux\n KERNEL /vmlinuz\n APPEND initrd=/initrd.img %s\n' "$1"
  }
  mmd -i "$fat" ::/EFI ::/EFI/BOOT ::/EFI/debian ::/boot ::/boot/extlinux
  put "$work"/packages/boot/vmlinuz-* vmlinuz
  put "$work/initrd.img" initrd.img
  # UEFI takes the path for removable media; shim starts the grubx64.efi beside it, and in Debian's signed GRUB
  # /EFI/debian is built in as the place of its configuration.
  put "$work/packages/usr/lib/shim/shimx64.efi.signed" EFI/BOOT/BOOTX64.EFI
  put "$work/packages/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" EFI/BOOT/grubx64.efi
  printf 'linux /vmlinuz %s\ninitrd /initrd.img\nboot\n' "$bios_console $KERNEL_ARGS" >"$work/grub.cfg"
  put "$work/grub.cfg" EFI/debian/grub.cfg
  # BIOS: syslinux. It would prefer an extlinux.conf beside its own file, so the one for pygrub, which knows KERNEL and
  # APPEND initrd= only, lies in a folder where syslinux does not look.
  syslinux_config "$bios_console $KERNEL_ARGS" >"$work/syslinux.cfg"
  put "$work/syslinux.cfg" syslinux.cfg
  syslinux_config "console=hvc0 $KERNEL_ARGS" >"$work/extlinux.conf"
  put "$work/extlinux.conf" boot/extlinux/extlinux.conf
  syslinux --install "$fat"
}

make_disk() {
  local disk=$work/disk.raw
  truncate -s $((BOOT_MIB + ROOT_MIB + 2))M "$disk"
  printf 'label: gpt\nstart=2048,size=%d,type=U,name=boot,attrs=LegacyBIOSBootable\nsize=%d,type=L,name=root\n' \
    $((BOOT_MIB * 2048)) $((ROOT_MIB * 2048)) | sfdisk -q "$disk"
  dd if="$work/boot.fat" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
  dd if="$work/root.ext4" of="$disk" bs=1M seek=$((1 + BOOT_MIB)) conv=notrunc,sparse status=none
  dd if=/usr/lib/syslinux/mbr/gptmbr.bin of="$disk" bs=440 count=1 conv=notrunc status=none
  qemu-img convert -c -f raw -O qcow2 "$disk" "$out.$$"
  mv "$out.$$" "$out"
}

unpack
make_initramfs
make_root
make_boot
make_disk
