import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { resolve as absolute } from 'node:path';
import { listenerLock } from './listener-lock.js';

const HELD = 'held';

/**
 * Takes the lock of a file, against all processes of this machine. It is held until the result is called, or this
 * process ends, in whatever way: the kernel lets go of it then.
 * @param how 'try': null when another process holds it; 'wait': until it can be had
 */
export const hostLock = (
  path: string,
  how: 'try' | 'wait',
  platform: NodeJS.Platform = process.platform,
): Promise<(() => Promise<void>) | null> =>
  platform === 'win32' ? listenerLock(pipeFor(path), how) : flock(path, how);

/** Windows has no lock of a file that other programs can be given; a pipe has one owner. */
export const pipeFor = (path: string): string =>
  `\\\\.\\pipe\\omnivisor-${createHash('sha256').update(absolute(path).toLowerCase()).digest('hex').slice(0, 32)}`;

const flock = (path: string, how: 'try' | 'wait'): Promise<(() => Promise<void>) | null> =>
  new Promise((resolve, reject) => {
    const options = how === 'try' ? ['--nonblock', '--conflict-exit-code', '75'] : [];
    // The holder lives as long as the pipe from this process; a process of its own group, so that Ctrl-C is not for it.
    const holder = spawn('flock', [...options, path, 'sh', '-c', `echo ${HELD}; exec cat`], {
      stdio: ['pipe', 'pipe', 'ignore'],
      detached: true,
    });
    const ended = new Promise<void>((gone) => holder.once('close', () => gone()));
    holder.stdin.on('error', () => {});
    holder.once('error', reject);
    holder.once('close', (code) =>
      code === 75 ? resolve(null) : reject(new Error(`flock of ${path} ended with ${code}`)),
    );
    holder.stdout.once('data', () => {
      holder.unref();
      resolve(() => {
        holder.stdin.end();
        return ended;
      });
    });
  });
