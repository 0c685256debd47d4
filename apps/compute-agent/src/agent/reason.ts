import { DomainError } from '@omnivisor/contracts';
import { HypervisorError } from '../drivers/hypervisor-driver.js';

/** A value that somebody gave a property may be long, and comes back in a driver's words. */
const LONGEST = 400;

/** Why something failed, for users: what a hypervisor lacks, its driver says in words for everybody. */
export const reasonOf = (error: unknown): string => {
  if (error instanceof DomainError) return error.message;
  const code = error instanceof HypervisorError ? error.code : 'fault';
  if (code === 'noResources') return 'The host has no room for it.';
  if (code !== 'unsupported') return 'The hypervisor could not do it.';
  const { message } = error as HypervisorError;
  return `The hypervisor cannot do it: ${message.length > LONGEST ? `${message.slice(0, LONGEST)}…` : message}.`;
};
