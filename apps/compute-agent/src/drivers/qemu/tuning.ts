import type { GuestDefinition } from './definition.js';
import type { QemuGuest } from './qemu-guest.js';

/** How often a guest's balloon driver tells of its memory. */
const BALLOON_SECONDS = 10;

/** What a process is told once it stands, before its guest runs: no argument says it. */
export const tune = async (live: QemuGuest, guest: GuestDefinition): Promise<void> => {
  await throttle(live, guest);
  const polling = { path: '/machine/peripheral/balloon0', property: 'guest-stats-polling-interval' };
  await live.call(guest, 'qom-set', { ...polling, value: BALLOON_SECONDS });
};

/** Limits of the flavor for each of the guest's own disks. */
const throttle = async (live: QemuGuest, guest: GuestDefinition): Promise<void> => {
  const limit = (name: string) => guest.limits[`disk_${name}`] ?? 0;
  const limits = {
    bps: limit('total_bytes_sec'),
    bps_rd: limit('read_bytes_sec'),
    bps_wr: limit('write_bytes_sec'),
    iops: limit('total_iops_sec'),
    iops_rd: limit('read_iops_sec'),
    iops_wr: limit('write_iops_sec'),
  };
  if (!Object.values(limits).some((value) => value > 0)) return;
  const backend = guest.diskBus === 'virtio' ? '/virtio-backend' : '';
  for (const { name } of guest.disks)
    await live.call(guest, 'block_set_io_throttle', {
      id: `/machine/peripheral/dev-${name}${backend}`,
      ...limits,
    });
};
