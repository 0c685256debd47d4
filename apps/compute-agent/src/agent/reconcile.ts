import type { hostBus, ServerOperation } from '@omnivisor/contracts';
import type { z } from 'zod';
import type { FoundGuest } from '../drivers/hypervisor-driver.js';

export type DesiredServer = z.output<typeof hostBus.DesiredServer>;

/** It is on its way out: destroyed on a tombstone, or given back. */
export const isGoing = ({ tombstone, release }: DesiredServer): boolean => tombstone || release === true;

/** What the log is told of an attempt that it wants here, and that is not. */
type Missed =
  | { readonly kind: 'reportMissing' }
  | { readonly kind: 'failOperation'; readonly operation: ServerOperation; readonly generation: number };

/** The one thing to do next for a server; null when what is there is what is wanted. */
export type Action =
  | { readonly kind: 'spawn' }
  /** Give an adopted guest back. */
  | { readonly kind: 'release' }
  | { readonly kind: 'destroy' }
  | { readonly kind: 'operate'; readonly operation: ServerOperation; readonly generation: number }
  /** The guest that was on its way is here, and is ours from now on. */
  | { readonly kind: 'accept' }
  | { readonly kind: 'reportSpawned' }
  | { readonly kind: 'reportPower' }
  | { readonly kind: 'reportAbsent' }
  | Missed
  /** Leave it alone and tell an operator; `report`: another attempt is wanted here, and is not. */
  | { readonly kind: 'quarantine'; readonly reason: string; readonly report?: Missed }
  /** An operator has given up a guest in quarantine. */
  | { readonly kind: 'discard'; readonly attempt: number };

/**
 * Compares what the log wants of a server with what is on the host.
 * @param desired undefined when the log asks for nothing under this id, and has no tombstone either
 * @param discard attempt of the guest in quarantine that an operator gave up
 */
export const nextAction = (
  desired: DesiredServer | undefined,
  found: FoundGuest | undefined,
  discard?: number,
): Action | null => {
  const action = compared(desired, found);
  return action?.kind === 'quarantine' && found?.mark.attempt === discard
    ? { kind: 'discard', attempt: found!.mark.attempt }
    : action;
};

/** An older log may not know of a spawn that was reported to a newer one. */
const hasLived = ({ mark, stage, power }: FoundGuest): boolean =>
  stage !== 'building' &&
  (['running', 'paused', 'suspended'].includes(power) || mark.build > 0 || stage === 'rescued' || stage === 'resized');

const openOperation = ({ operation }: DesiredServer) => (operation && !operation.done ? operation : null);
const isAccepting = ({ spawned, arrivesBy }: DesiredServer): boolean => !spawned && arrivesBy !== undefined;

/** The attempt that is wanted is not here. @returns null when it never was */
const missed = (desired: DesiredServer): Missed | null => {
  if (!desired.spawned && !isAccepting(desired)) return null;
  const operation = openOperation(desired);
  return operation
    ? { kind: 'failOperation', operation: operation.kind, generation: operation.generation }
    : { kind: 'reportMissing' };
};

const compared = (desired: DesiredServer | undefined, found: FoundGuest | undefined): Action | null => {
  if (!desired) return found ? { kind: 'quarantine', reason: 'the log asks for nothing under this id' } : null;
  if (isGoing(desired)) {
    if (!found) return { kind: 'reportAbsent' };
    return found.mark.attempt <= desired.attempt
      ? { kind: desired.release ? 'release' : 'destroy' }
      : {
          kind: 'quarantine',
          reason: `attempt ${found.mark.attempt} is newer than the tombstone's ${desired.attempt}`,
        };
  }
  // What is kept, or waits, is another host's concern until the log says so; what came after that, an older log does not know.
  if (desired.part) {
    if (!found || found.mark.attempt <= desired.attempt) return null;
    const reason = `attempt ${found.mark.attempt} is here, attempt ${desired.attempt} is what a move has left here`;
    return { kind: 'quarantine', reason };
  }
  if (!found) return missed(desired) ?? { kind: 'spawn' };
  if (found.mark.attempt !== desired.attempt) {
    const report = missed(desired);
    const reason = `attempt ${found.mark.attempt} is here, attempt ${desired.attempt} is wanted`;
    return { kind: 'quarantine', reason, ...(report ? { report } : {}) };
  }
  if (isAccepting(desired)) return { kind: found.stage === 'incoming' ? 'accept' : 'reportSpawned' };
  // Nobody waits for it any more: an older log does not know what was on its way here, or has come.
  if (!desired.spawned && found.stage === 'incoming') {
    const what = 'a shell, or a guest that has come and was not accepted, is here';
    return { kind: 'quarantine', reason: `attempt ${desired.attempt} is to be made, and ${what}` };
  }
  // A guest that does not run and was never reported was left half made by a crash: `spawn` goes on with it.
  if (!desired.spawned) return { kind: desired.adoption || hasLived(found) ? 'reportSpawned' : 'spawn' };
  const operation = openOperation(desired);
  if (operation) return { kind: 'operate', operation: operation.kind, generation: operation.generation };
  // `noState` means that the hypervisor cannot say now: no news is no change.
  return found.power === 'noState' || found.power === desired.power ? null : { kind: 'reportPower' };
};
