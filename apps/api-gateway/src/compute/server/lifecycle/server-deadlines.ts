import { type Milliseconds, ms, seconds } from '@omnivisor/contracts';
import type { TaskState } from '../state/server.js';

/** @param patience times as long as usual */
export const stretched = (deadline: Milliseconds, patience: number): Milliseconds => ms(deadline * patience);

/** How long a host may take to send a server's disk. */
export const SNAPSHOT_DEADLINE = seconds(3_600);

/** How long a host has to give a guest an interface, or to take one from it. */
export const INTERFACE_DEADLINE = seconds(120);

/**
 * How long each task_state may last. When it passes, the action fails, its instance action ends with Error, and the
 * power state last reported stands; a later report corrects it. Hosts that are slow get a multiple of each.
 */
export const taskDeadlines: Readonly<Record<TaskState, Milliseconds>> = {
  scheduling: seconds(600),
  networking: seconds(600),
  spawning: seconds(600),
  // A host that has much to do takes minutes to start a guest.
  'powering-on': seconds(300),
  // The guest gets 60 s to shut down before its power is cut.
  'powering-off': seconds(180),
  rebooting: seconds(420),
  rebooting_hard: seconds(300),
  pausing: seconds(60),
  unpausing: seconds(60),
  // All of its memory is written, or read.
  suspending: seconds(600),
  resuming: seconds(600),
  // An image may have to be fetched, or made in another form.
  rebuilding: seconds(600),
  rescuing: seconds(600),
  unrescuing: seconds(300),
  // All of its disk is sent.
  image_uploading: SNAPSHOT_DEADLINE,
  resize_prep: seconds(300),
  // The guest gets 60 s to shut down, and its disks may grow.
  // Moving: all of its disks are sent, too.
  resize_migrating: seconds(3_600),
  resize_migrated: seconds(600),
  // All of its disks are fetched.
  resize_finish: seconds(3_600),
  // All of its memory and of its disks is sent while it runs.
  migrating: seconds(7_200),
  resize_confirming: seconds(120),
  resize_reverting: seconds(300),
  deleting: seconds(120),
};
