import { setTimeout as pause } from 'node:timers/promises';
import type { ServerId } from '@omnivisor/contracts';
import { HypervisorError } from '../hypervisor-driver.js';
import type { Definition } from './definition.js';
import { refuseAborted } from './disks.js';
import { guarding } from './guard.js';
import type { Guests } from './guests.js';
import { ASK_TO_SHUT_DOWN, RESUME, START_GUEST, STOP_GUEST } from './scripts.js';

/** Milliseconds. A start reads a kernel from the disk, and waits for the scripts of its devices. */
const START_LIMIT = 600_000;
const LOOKS = { first: 50, longest: 500 };
/** A guest that boots hears no request to shut down, so it is asked again. */
const ASK_AGAIN = 5_000;

const asFull = (error: unknown): unknown =>
  error instanceof HypervisorError &&
  /not enough (free )?memory|failed to free memory|out of memory/i.test(error.native ?? '')
    ? new HypervisorError('noResources', 'the host has too little memory', error.native, { cause: error })
    : error;

/** @param after what the guest is once it has started */
export const startGuest = async (guests: Guests, guest: Definition, after?: Definition): Promise<void> => {
  const { args, input } = guarding(guest);
  const settings = [guests.config(guest), after ? JSON.stringify(after) : ''];
  await guests
    .call(guest.serverId, START_GUEST, [...args, ...settings], { input, timeout: START_LIMIT })
    .catch((error: unknown) => {
      throw asFull(error);
    });
};

/** Cuts its power; also gives up a memory that was saved. */
export const stopGuest = async (guests: Guests, id: ServerId): Promise<void> => {
  await guests.call(id, STOP_GUEST, [], { timeout: START_LIMIT });
};

export const resumeGuest = async (guests: Guests, guest: Definition): Promise<void> => {
  const { args, input } = guarding(guest);
  await guests
    .call(guest.serverId, RESUME, [...args, guests.config(guest)], { input, timeout: START_LIMIT })
    .catch((error: unknown) => {
      throw asFull(error);
    });
};

/** Asks the guest to shut down, and waits. @throws HypervisorError `fault` when the wait is given up */
export const shutDown = async (guests: Guests, id: ServerId, patience: number, signal: AbortSignal): Promise<void> => {
  const deadline = Date.now() + patience;
  for (let asked = 0, wait = LOOKS.first; ; wait = Math.min(wait * 2, LOOKS.longest)) {
    refuseAborted(signal);
    if (Date.now() - asked >= ASK_AGAIN) {
      asked = Date.now();
      await guests.call(id, ASK_TO_SHUT_DOWN);
    }
    const power = (await guests.find(id))?.power;
    if (power !== 'running') return;
    const left = deadline - Date.now();
    if (left <= 0) return;
    await pause(Math.min(wait, left), undefined, { signal }).catch(() => undefined);
  }
};
