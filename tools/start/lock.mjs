import { spawn } from 'node:child_process';

/**
 * Holds a folder against every other process that asks for it here. The kernel lets go of it when this process ends,
 * however it ends.
 * @param {string} folder
 * @param {{ wait?: number }} [options] seconds to wait for it
 * @returns {Promise<(() => Promise<void>) | null>} how to let go; null when another holds it
 */
export const hold = async (folder, { wait = 0 } = {}) => {
  const patience = wait > 0 ? ['--wait', String(wait)] : ['--nonblock'];
  const holder = spawn('flock', [...patience, '--no-fork', folder, 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    detached: true,
  });
  const ended = new Promise((resolve) => holder.once('close', resolve));
  const held = await new Promise((resolve, reject) => {
    holder.once('error', reject);
    holder.stdout.once('data', () => resolve(true));
    holder.once('close', () => resolve(false));
  });
  if (!held) return null;
  holder.unref();
  return async () => {
    holder.ref();
    holder.stdin.end();
    await ended;
  };
};
