import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { ServerId } from '@omnivisor/contracts';

/** From here on user ids belong to nobody: above those of systemd's containers, and still positive in 32 bits. */
const FIRST = 0x7000_0000;
const COUNT = 1 << 24;
const NOBODY = 65_534;

/**
 * User and group id for a guest's process: each guest has its own, so that one that breaks out of QEMU can touch no
 * other. Null when the agent itself has no right to change users.
 * @param id null for the guest of a probe
 */
export const guestUser = (id: ServerId | null): number | null => {
  if (process.getuid?.() !== 0) return null;
  const own = id === null ? 0 : createHash('sha256').update(id).digest().readUIntBE(0, 3);
  return hasUsers(readFileSync('/proc/self/uid_map', 'utf8')) ? FIRST + own : NOBODY;
};

/** In a container with a user namespace only some ids exist; there all guests are `nobody`. */
export const hasUsers = (uidMap: string): boolean =>
  uidMap.split('\n').some((line) => {
    const [start, , length] = line.trim().split(/\s+/).map(Number);
    return start !== undefined && length !== undefined && start <= FIRST && start + length >= FIRST + COUNT;
  });
