import { execFile } from 'node:child_process';
import { HypervisorError } from '../hypervisor-driver.js';

/**
 * Runs a tool of the host to its end.
 * @throws HypervisorError `unsupported` when the tool is missing, `noResources` when the disk is full, `unavailable` when
 *   it was ended after `timeout` milliseconds, else `fault`
 */
export const run = (
  command: string,
  args: readonly string[],
  options: { cwd?: string; signal?: AbortSignal; timeout?: number; uid?: number; gid?: number } = {},
): Promise<string> =>
  new Promise((resolve, reject) => {
    const settings = {
      ...options,
      encoding: 'utf8' as const,
      maxBuffer: 16 << 20,
      env: { ...process.env, LC_ALL: 'C' },
    };
    execFile(command, args, settings, (error, stdout, stderr) => {
      if (!error) resolve(stdout);
      else if (error.killed && options.timeout !== undefined && !options.signal?.aborted)
        reject(new HypervisorError('unavailable', `${command} does not end`, stderr, { cause: error }));
      else reject(asHypervisorError(error, command, stderr));
    });
  });

export const asHypervisorError = (error: unknown, doing: string, detail = ''): HypervisorError => {
  if (error instanceof HypervisorError) return error;
  const { code, name, message } = error as NodeJS.ErrnoException;
  const native = (detail || message).trim().slice(0, 2000);
  const options = { cause: error };
  if (name === 'AbortError') return new HypervisorError('fault', `${doing} was aborted`, native, options);
  if (code === 'ENOSPC' || code === 'EDQUOT' || /No space left on device|Disk quota exceeded/.test(native))
    return new HypervisorError('noResources', `${doing}: the host's disk is full`, native, options);
  if (code === 'ENOENT' && (error as NodeJS.ErrnoException).syscall?.startsWith('spawn'))
    return new HypervisorError('unsupported', `${doing} is not installed on this host`, native, options);
  if (/Cannot allocate memory|cannot set up guest memory/i.test(native))
    return new HypervisorError('noResources', `${doing}: the host has too little memory`, native, options);
  return new HypervisorError('fault', `${doing} failed`, native, options);
};
