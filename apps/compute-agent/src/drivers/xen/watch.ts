import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { backoff, ms, type ServerId } from '@omnivisor/contracts';
import type { Guests } from './guests.js';
import type { HostShell } from './host-shell.js';
import { WATCH } from './scripts.js';

const PAUSES = { first: ms(1_000), longest: ms(30_000) };

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
  for (let failures = 0; !signal.aborted; failures++) {
    ask();
    if (await listen(guests.host.shell, ask, signal).catch(() => false)) failures = 0;
    await pause(backoff(failures, Math.random(), PAUSES), undefined, { signal }).catch(() => undefined);
  }
};

/** Listens to the store for as long as it can be heard. True when it told something. */
const listen = (shell: HostShell, told: () => void, signal: AbortSignal): Promise<boolean> =>
  new Promise((resolve) => {
    let heard = false;
    const child = shell.start(WATCH, []);
    const stop = () => child.kill();
    const end = () => {
      signal.removeEventListener('abort', stop);
      lines.close();
      resolve(heard);
    };
    signal.addEventListener('abort', stop, { once: true });
    child.once('error', end).once('close', end);
    child.stdin.on('error', () => undefined);
    child.stderr.on('error', () => undefined).resume();
    // It also says what goes wrong with what it reads, which the child's end tells too.
    const lines = createInterface({ input: child.stdout }).on('error', () => undefined);
    lines.on('line', () => {
      heard = true;
      told();
    });
  });
