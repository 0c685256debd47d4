import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';

const text = (path: string): string | null => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
};

export const processes = (): number[] =>
  readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []));

/** Its arguments; none of one that has ended or is ending. */
export const commandOf = (pid: number): string[] => text(`/proc/${pid}/cmdline`)?.split('\0').slice(0, -1) ?? [];

/** The folder it runs in; null of one that has ended. */
export const workFolderOf = (pid: number): string | null => {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return null;
  }
};

/**
 * Whether it runs in a folder. The folder itself is compared, not its path: seen through the mounts of another namespace it
 * may have another path.
 */
export const worksIn = (pid: number, folder: string): boolean => {
  try {
    const [works, own] = [statSync(`/proc/${pid}/cwd`), statSync(folder)];
    return works.ino === own.ino && works.dev === own.dev;
  } catch {
    return false;
  }
};

/** Ended, and not yet noticed by its parent. */
export const isZombie = (pid: number): boolean => /^State:\s+[ZX]/m.test(text(`/proc/${pid}/status`) ?? 'State: X');

export const userOf = (pid: number): number =>
  Number(/^Uid:\s+(\d+)/m.exec(text(`/proc/${pid}/status`) ?? '')?.[1] ?? 0);

/** When it was started, in ticks since the machine was: with the pid, it names a process for good. */
export const startOf = (pid: number): string => statFields(pid)[19] ?? '';

/** Fields of its statistics after the name of the program, which may hold anything. */
export const statFields = (pid: number, thread = pid): string[] =>
  (text(`/proc/${pid}/task/${thread}/stat`) ?? '').split(') ').at(-1)!.split(' ');
