import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** A tool of the system failed; its own text is for the log. */
export class ToolFailed extends Error {
  constructor(
    readonly command: readonly string[],
    readonly output: string,
  ) {
    super(`${command.join(' ')} failed: ${output.trim().slice(0, 500)}`);
    this.name = 'ToolFailed';
  }
}

/** Runs a program with arguments, never a shell. @returns what it wrote */
export const run = (command: readonly string[], input?: string, timeout = 20_000): Promise<string> =>
  new Promise((resolve, reject) => {
    const [file = '', ...args] = command;
    const child = execFile(
      file,
      args,
      { timeout, maxBuffer: 16 * 1024 * 1024, env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' } },
      (error, stdout, stderr) => (error ? reject(new ToolFailed(command, stderr || error.message)) : resolve(stdout)),
    );
    child.stdin?.on('error', () => {});
    child.stdin?.end(input ?? '');
  });

/** Runs and says whether it succeeded. */
export const succeeds = async (command: readonly string[]): Promise<boolean> =>
  run(command).then(
    () => true,
    () => false,
  );

/**
 * Runs `work` while holding the lock of a file against all processes of the machine. The kernel lets go of it when this
 * process dies.
 */
export const withLock = async <T>(path: string, work: () => Promise<T>): Promise<T> => {
  const holder = spawn('flock', [path, 'sh', '-c', 'echo held; exec cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
  const ended = new Promise<void>((resolve) => holder.once('close', () => resolve()));
  try {
    await new Promise<void>((resolve, reject) => {
      holder.once('error', reject);
      holder.stdout.once('data', () => resolve());
      holder.once('close', () => reject(new ToolFailed(['flock', path], 'the lock could not be taken')));
    });
    return await work();
  } finally {
    holder.stdin.end();
    await ended;
  }
};

/** True while the process runs; one that ended and waits for its parent does not. */
export const isAlive = (pid: number): boolean => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
};

/** Ends a process, by force when it does not go. */
export const end = async (pid: number): Promise<void> => {
  const send = (signal: NodeJS.Signals) => {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  };
  send('SIGTERM');
  const deadline = Date.now() + 3_000;
  while (isAlive(pid) && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
  if (isAlive(pid)) send('SIGKILL');
};
