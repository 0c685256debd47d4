import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import type { ServerId } from '@omnivisor/contracts';
import type { Guests } from './guests.js';
import { WATCH } from './scripts.js';

/** Milliseconds until a watch that was lost is tried anew. */
const AGAIN = 2_000;

/**
 * Tells of guests whose power has changed, as long as `signal` is not aborted: Xen's store says when a domain comes or
 * goes, though not which.
 */
export const watchGuests = async (
  guests: Guests,
  changed: (id: ServerId) => void,
  signal: AbortSignal,
): Promise<void> => {
  const known = new Map<ServerId, string>();
  const look = async () => {
    const { guests: found } = await guests.all();
    const now = new Map(found.map(({ definition, power }) => [definition.serverId, power] as const));
    for (const id of new Set([...known.keys(), ...now.keys()])) if (known.get(id) !== now.get(id)) changed(id);
    known.clear();
    for (const [id, power] of now) known.set(id, power);
  };
  while (!signal.aborted) {
    const child = guests.host.shell.start(WATCH, []);
    const stop = () => child.kill();
    signal.addEventListener('abort', stop, { once: true });
    child.once('error', () => child.stdout.destroy());
    child.stdin.on('error', () => undefined);
    child.stderr.resume();
    // Looks once for all that was told while it looked.
    let due = false;
    let looks = false;
    const ask = () => {
      due = true;
      if (looks) return;
      looks = true;
      void (async () => {
        while (due && !signal.aborted) {
          due = false;
          // What is not seen now is seen by the agent's own listing, or at the next change.
          await look().catch(() => undefined);
        }
        looks = false;
      })();
    };
    ask();
    await new Promise<void>((resolve) => {
      createInterface({ input: child.stdout })
        .on('line', ask)
        .on('error', () => undefined)
        .once('close', resolve);
    });
    signal.removeEventListener('abort', stop);
    await pause(AGAIN, undefined, { signal }).catch(() => undefined);
  }
};
