import { DomainError } from '@omnivisor/contracts';
import { HypervisorError } from '../drivers/hypervisor-driver.js';

/** A value that somebody gave a property may be long, and comes back in a driver's words. */
const LONGEST = 400;

/** Why something failed, for users: what a hypervisor lacks, or an owner has to look after, its driver says in words for everybody. */
export const reasonOf = (error: unknown): string => {
  if (error instanceof DomainError) return error.message;
  if (!(error instanceof HypervisorError)) return 'The hypervisor could not do it.';
  const { code, message, tellOwner } = error;
  if (code === 'noResources') return 'The host has no room for it.';
  if (!tellOwner) return 'The hypervisor could not do it.';
  const words = message.length > LONGEST ? `${message.slice(0, LONGEST)}…` : message.replace(/\.$/, '');
  return `The hypervisor ${code === 'unsupported' ? 'cannot' : 'could not'} do it: ${words}.`;
};
