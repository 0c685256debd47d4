import { existsSync, renameSync, rmSync } from 'node:fs';
import type { ServerId } from '@omnivisor/contracts';
import type { GuestDefinition } from './definition.js';
import { FILES } from './files.js';
import { type GuestStore, syncFolder } from './guest-store.js';
import type { QemuHost } from './qemu-host.js';
import { takeBack } from './resized-disks.js';

/** Folders that are being made, and those whose place they take. */
const NEXT = '.next';
const OLD = '.old';

export const nextFolder = (store: GuestStore, id: ServerId, what: 'disks' | 'rescue'): string =>
  store.path(id, `${FILES[what]}${NEXT}`);

/** Puts the folder that was made into its place. Again after a crash: goes on. */
export const takePlace = (store: GuestStore, id: ServerId, what: 'disks' | 'rescue'): void => {
  const [place, next, old] = [
    store.path(id, FILES[what]),
    nextFolder(store, id, what),
    store.path(id, FILES[what] + OLD),
  ];
  if (existsSync(next)) {
    if (existsSync(place)) {
      rmSync(old, { recursive: true, force: true });
      renameSync(place, old);
    }
    renameSync(next, place);
    syncFolder(store.path(id));
  }
  rmSync(old, { recursive: true, force: true });
};

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
