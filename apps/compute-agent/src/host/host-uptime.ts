import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Backend } from '@omnivisor/contracts';
import { HypervisorError } from '../drivers/hypervisor-driver.js';

/** Milliseconds. */
const LIMIT = 2_000;

/**
 * What `uptime` says of this machine: clients of Nova read the parts of its line.
 * @throws HypervisorError `unsupported` where that program is not installed
 */
export const hostUptime = async (path = process.env.PATH): Promise<string> => {
  try {
    const env = { PATH: path, LC_ALL: 'C' };
    return (await promisify(execFile)('uptime', { env, timeout: LIMIT })).stdout.trimEnd();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new HypervisorError('unsupported', 'the machine has no uptime program');
    throw error;
  }
};

/** True where guests run on the machine that the agent is on. */
export const isOwnMachine = (backend: Backend, { OMNIVISOR_XEN_HOST }: { readonly OMNIVISOR_XEN_HOST: string }) =>
  backend === 'qemu' || backend === 'fake' || (backend === 'xen' && OMNIVISOR_XEN_HOST === 'local');
