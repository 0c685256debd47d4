import { eventSets } from '@omnivisor/contracts';

/** CADF's outcomes: what was asked for and is not done yet is pending. */
export type Outcome = 'success' | 'failure' | 'pending';
export const outcomes = ['success', 'failure', 'pending'] as const;

const FAILURE = /(Failed|Refused)$|^RefusalsCounted$|^LoginFailuresCounted$|^ServerGuest(Missing|Lost)$/;
const PENDING = /Requested$|^Image(Upload|Staging|Import|Derivation)Started$/;

export const outcomeOf = (type: string): Outcome =>
  FAILURE.test(type) ? 'failure' : PENDING.test(type) ? 'pending' : 'success';

/** Types of event with an outcome. */
export const typesWith = (outcome: Outcome): string[] =>
  eventSets.flatMap((set) => Object.keys(set.events)).filter((type) => outcomeOf(type) === outcome);
