import { rmSync } from 'node:fs';
import type { GuestDefinition } from './definition.js';
import { takePlace } from './disk-places.js';
import { FILES } from './files.js';
import type { QemuHost } from './qemu-host.js';
import { takeBack } from './resized-disks.js';

/**
 * A guest whose change was cut off, made one that can be used: what its disks already are decides whether the change is
 * ended or taken back. Its power is off then.
 */
export const settleInterrupted = async (host: QemuHost, guest: GuestDefinition): Promise<GuestDefinition> => {
  const { serverId: id } = guest.mark;
  if (guest.change === null) return guest;
  await host.turnOff(guest);
  const settled = (change: Partial<GuestDefinition>): GuestDefinition => {
    const next = { ...guest, ...change, change: null, suspended: false };
    host.store.write(next);
    return next;
  };
  switch (guest.change) {
    case 'rebuild':
      takePlace(host.store, id, 'disks');
      return settled({});
    case 'rescue':
    case 'unrescue':
      rmSync(host.store.path(id, FILES.rescue), { recursive: true, force: true });
      return settled({ ...guest.rescue?.own, rescue: null });
    case 'resize':
    case 'revert':
      return settled(await takeBack(host, guest));
  }
};
