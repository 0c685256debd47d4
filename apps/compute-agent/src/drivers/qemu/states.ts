import type { PowerState } from '@omnivisor/contracts';
import { type GuestStage, HypervisorError } from '../hypervisor-driver.js';
import type { GuestDefinition } from './definition.js';

/** QEMU's own word for how a guest stands, or `gone` when there is no process. */
export type RunState = string;

export const POWER: Readonly<Record<RunState, PowerState>> = {
  running: 'running',
  paused: 'paused',
  prelaunch: 'paused',
  postmigrate: 'paused',
  'finish-migrate': 'paused',
  'save-vm': 'paused',
  'restore-vm': 'paused',
  'io-error': 'paused',
  watchdog: 'paused',
  suspended: 'suspended',
  shutdown: 'shutdown',
  'guest-panicked': 'crashed',
  'internal-error': 'crashed',
};

export const stageOf = (guest: GuestDefinition): GuestStage => {
  if (guest.phase === 'building' || guest.change !== null) return 'building';
  if (guest.phase === 'incoming' || guest.phase === 'moved') return guest.phase;
  if (guest.rescue) return 'rescued';
  return guest.before ? 'resized' : 'settled';
};

const NOT_HERE = {
  building: 'the guest is half made',
  incoming: 'the guest has not come yet',
  moved: 'the guest has moved to another host',
} as const;

/** It is not whole, or another host has it. */
export const refuseAway = (guest: GuestDefinition): GuestDefinition => {
  if (guest.phase !== 'spawned') throw new HypervisorError('fault', NOT_HERE[guest.phase]);
  return guest;
};

export const refuseAborted = (signal: AbortSignal): void => {
  if (signal.aborted) throw new HypervisorError('fault', 'the call was aborted');
};
