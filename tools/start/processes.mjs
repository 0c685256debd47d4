import { readFileSync } from 'node:fs';

/**
 * A process is its number and the moment it began, in ticks since boot: a number alone may have gone to another.
 * @typedef {{ pid: number, began: string }} ProcessIdentity
 */

/** @param {number} pid @returns {string | null} null when there is none, or only its remains */
export const beganAt = (pid) => {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
};

/** @param {ProcessIdentity | null | undefined} process */
export const isAlive = (process) => !!process && process.began !== null && beganAt(process.pid) === process.began;

/** Sends a signal to a process that still is the one meant. @param {ProcessIdentity} target @param {NodeJS.Signals} signal */
export const signal = (target, signal) => {
  if (!isAlive(target)) return false;
  try {
    process.kill(target.pid, signal);
    return true;
  } catch (error) {
    if (error.code === 'ESRCH') return false;
    throw error;
  }
};

/** Waits until none of them lives. @param {ProcessIdentity[]} targets @param {number} timeout @returns {Promise<boolean>} */
export const untilGone = async (targets, timeout) => {
  const end = Date.now() + timeout;
  while (targets.some(isAlive)) {
    if (Date.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
};

/** Ends processes in order, and those that stay by force. @param {ProcessIdentity[]} targets @param {number} grace */
export const endAll = async (targets, grace = 15_000) => {
  for (const target of targets) signal(target, 'SIGTERM');
  if (await untilGone(targets, grace)) return;
  for (const target of targets) signal(target, 'SIGKILL');
  if (!(await untilGone(targets, 5_000))) throw new Error('some processes could not be ended');
};
