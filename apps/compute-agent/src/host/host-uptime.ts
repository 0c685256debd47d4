import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Backend } from '@omnivisor/contracts';

/** Milliseconds. */
const LIMIT = 2_000;

/** What `uptime` says of this machine: clients of Nova read the parts of its line. */
export const hostUptime = async (): Promise<string> => {
  const env = { PATH: process.env.PATH, LC_ALL: 'C' };
  return (await promisify(execFile)('uptime', { env, timeout: LIMIT })).stdout.trimEnd();
};

/** True where guests run on the machine that the agent is on. */
export const isOwnMachine = (backend: Backend, { OMNIVISOR_XEN_HOST }: { readonly OMNIVISOR_XEN_HOST: string }) =>
  backend === 'qemu' || backend === 'fake' || (backend === 'xen' && OMNIVISOR_XEN_HOST === 'local');
