import { existsSync, readlinkSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import type { ServerId } from '@omnivisor/contracts';
import { FILES } from './files.js';
import { type GuestStore, syncFolder } from './guest-store.js';

/** What a link names, there or not; null of what is none. */
const linkTarget = (path: string): string | null => {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
};

/** Folders that are being made, and those whose place they take. */
const NEXT = '.next';
const OLD = '.old';

/** Where it is: on storage that is shared there is a link to it in the guest's folder. */
const placeOf = (store: GuestStore, id: ServerId, what: 'disks' | 'rescue'): string => {
  const path = store.path(id, FILES[what]);
  return linkTarget(path) ?? path;
};

export const nextFolder = (store: GuestStore, id: ServerId, what: 'disks' | 'rescue'): string =>
  placeOf(store, id, what) + NEXT;

/** What of a guest's disks is, or was, on storage that is shared; empty where they are in its folder. */
export const sharedFolders = (store: GuestStore, id: ServerId): string[] => {
  const place = linkTarget(store.path(id, FILES.disks));
  return place === null ? [] : [place, place + NEXT, place + OLD];
};

/** Puts the folder that was made into its place. Again after a crash: goes on. */
export const takePlace = (store: GuestStore, id: ServerId, what: 'disks' | 'rescue'): void => {
  const place = placeOf(store, id, what);
  const [next, old] = [place + NEXT, place + OLD];
  if (existsSync(next)) {
    if (existsSync(place)) {
      rmSync(old, { recursive: true, force: true });
      renameSync(place, old);
    }
    renameSync(next, place);
    syncFolder(dirname(place));
  }
  rmSync(old, { recursive: true, force: true });
};
