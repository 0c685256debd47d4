/** Drivers that decide where a guest can start, by the names of their modules. */
const OF_INTEREST: ReadonlySet<string> = new Set([
  ...['virtio_pci', 'virtio_blk', 'virtio_scsi', 'virtio_net', 'virtio_balloon'],
  ...['xen_blkfront', 'xen_netfront'],
  ...['hv_vmbus', 'hv_storvsc', 'hv_netvsc', 'hv_utils', 'hv_balloon'],
  ...['vmw_pvscsi', 'vmxnet3', 'vmw_balloon', 'mptspi', 'mptsas'],
  ...['ata_piix', 'ahci', 'sd_mod', 'nvme', 'e1000', 'e1000e', '8139cp', '8139too', 'tulip'],
]);

/** The longest name of a file that is looked at: a guest may have any. */
const MAX_NAME = 64;

/** `kernel/drivers/block/virtio_blk.ko.xz`, with any dashes, is `virtio_blk`. */
const moduleName = (path: string): string | undefined => {
  const file = path.slice(path.lastIndexOf('/') + 1);
  if (file.length > MAX_NAME) return undefined;
  return /^(.+)\.ko(?:\.(?:xz|gz|zst))?$/.exec(file)?.[1]?.replaceAll('-', '_');
};

export const driverOf = (path: string): string | undefined => {
  const name = moduleName(path);
  return name !== undefined && OF_INTEREST.has(name) ? name : undefined;
};

/** Drivers named by a list of modules: `modules.builtin`, or the left side of `modules.dep`. */
export const driversIn = (list: string): string[] => {
  const found = new Set<string>();
  for (const line of list.split('\n')) {
    const driver = driverOf(line.split(':', 1)[0]!.trim());
    if (driver !== undefined) found.add(driver);
  }
  return [...found].sort();
};

const OPTION_OF: Readonly<Record<string, string>> = {
  ...{ virtio_pci: 'VIRTIO_PCI', virtio_blk: 'VIRTIO_BLK', virtio_scsi: 'SCSI_VIRTIO', virtio_net: 'VIRTIO_NET' },
  ...{ xen_blkfront: 'XEN_BLKDEV_FRONTEND', xen_netfront: 'XEN_NETDEV_FRONTEND' },
  ...{ hv_vmbus: 'HYPERV', hv_storvsc: 'HYPERV_STORAGE', hv_netvsc: 'HYPERV_NET', hv_utils: 'HYPERV_UTILS' },
  ...{ vmw_pvscsi: 'VMWARE_PVSCSI', vmxnet3: 'VMXNET3', mptspi: 'FUSION_SPI', mptsas: 'FUSION_SAS' },
  ...{ ata_piix: 'ATA_PIIX', ahci: 'SATA_AHCI', sd_mod: 'BLK_DEV_SD', nvme: 'BLK_DEV_NVME' },
  ...{ e1000: 'E1000', e1000e: 'E1000E' },
};

/** Drivers that a kernel's configuration builds in. */
export const builtInBy = (config: string): string[] =>
  Object.keys(OPTION_OF)
    .filter((driver) => new RegExp(`^CONFIG_${OPTION_OF[driver]}=y$`, 'm').test(config))
    .sort();
