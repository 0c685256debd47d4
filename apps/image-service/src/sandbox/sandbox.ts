import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import type { FileHandle } from 'node:fs/promises';
import { type Bytes, type Milliseconds, unsupported } from '@omnivisor/contracts';
import { PRIVATE_ROOT } from './private-root.js';

export interface ToolLimits {
  /** Address space; of a program of ours what it writes to, for Node reserves far more than that. */
  readonly memory: Bytes;
  /** CPU time in seconds. */
  readonly cpu: number;
  /** The largest file it may write. */
  readonly file: Bytes;
  /** After this it is killed, with all that it started. */
  readonly wall: Milliseconds;
}

export interface ToolFile {
  readonly handle: FileHandle;
  readonly write: boolean;
}

export interface ToolOptions {
  readonly files: readonly ToolFile[];
  readonly limits: ToolLimits;
  /** A folder that the tool sees by its path, beside its files. */
  readonly folder?: string;
  readonly signal?: AbortSignal;
  /** A program of ours: it is the service's own user and may reach what that may, but keeps to the limits. */
  readonly ours?: boolean;
}

/** What isolation a machine gives; for the log. */
export interface Isolation {
  /** User the tool runs as; null for the service's own. */
  readonly user: number | null;
  /** False where the machine lets nobody make a network namespace: then only the tool's arguments keep it off the network. */
  readonly network: boolean;
  /** False where it lets nobody mount: then the tool's arguments, and the rights of its user, keep it off other files. */
  readonly files: boolean;
}

/** A tool ended otherwise than well. Its words are for the log. */
export class ToolFailed extends Error {
  constructor(
    readonly tool: string,
    readonly status: string,
    stderr: string,
  ) {
    super(`${tool}: ${status}: ${stderr.trim().slice(-2_000)}`);
  }
}

const NOBODY = 65_534;
const STDERR_LIMIT = 64 * 1024;
/** The tool's files are its descriptors 3, 4, …: it gets no path of ours. */
export const toolPath = (index: number): string => `/dev/fd/${3 + index}`;

const works = (command: readonly string[]): boolean => spawnSync(command[0]!, command.slice(1)).status === 0;

const dropped = (user: number): string[] => [
  ...['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups'],
  ...['--inh-caps=-all', '--bounding-set=-all'],
];
/** The tool dies with the service, gains nothing by what it executes, and finds no network. */
const sealed = ['setpriv', '--no-new-privs', '--pdeathsig=KILL'];
const apart = ['unshare', '--user', '--map-current-user', '--net', '--ipc'];
const alone = ['unshare', '--user', '--map-root-user', '--mount', '--net', '--ipc', 'sh', '-c', PRIVATE_ROOT, 'sh'];
const bare = ['--inh-caps=-all', '--bounding-set=-all'];

/**
 * Runs a tool on bytes that may be hostile: with limits, in a session of its own, with the descriptors it is given and
 * no environment, as nobody when the service is root, and without a network and other files where the machine allows that.
 */
export class Sandbox {
  private constructor(
    readonly isolation: Isolation,
    private readonly wrapper: (folder: string) => readonly string[],
  ) {}

  /** @throws DomainError `unsupported` on a machine without util-linux */
  static detect(): Sandbox {
    const user = process.getuid?.() === 0 ? NOBODY : null;
    const drop = user === null ? [] : dropped(user);
    const base = [...drop, ...sealed];
    if (!works(['prlimit', '--core=0', ...base, 'true']))
      throw unsupported('This machine has no prlimit and setpriv to keep a converter within bounds.');
    const whole = (folder: string) => [...drop, ...alone, folder, ...sealed, ...bare];
    // The last of its words is a file that is there on every machine, and not in a root of the tool's own.
    if (works([...whole(''), 'test', '-e', '/dev/fd/0', '-a', '!', '-e', '/etc/passwd']))
      return new Sandbox({ user, network: true, files: true }, whole);
    const offline = [...drop, ...apart, ...sealed];
    const network = works([...offline, 'true']);
    return new Sandbox({ user, network, files: false }, () => (network ? offline : base));
  }

  /** @returns what it wrote to its standard output @throws ToolFailed */
  async run(tool: string, args: readonly string[], options: ToolOptions): Promise<string> {
    const child = await this.start(tool, args, options);
    let output = '';
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      if (output.length < STDERR_LIMIT) output += text;
    });
    await ended(tool, child);
    return output;
  }

  /** Starts a tool that goes on until it is killed or its time is up. */
  async start(tool: string, args: readonly string[], options: ToolOptions): Promise<ChildProcess> {
    const { files, limits, folder = '', signal, ours = false } = options;
    if (!ours) for (const file of files) await this.admit(file);
    const bounds = [
      `--${ours ? 'data' : 'as'}=${limits.memory}`,
      `--cpu=${limits.cpu}`,
      `--fsize=${limits.file}`,
      '--nofile=64',
      '--core=0',
    ];
    const command = [...bounds, ...(ours ? sealed : this.wrapper(folder)), tool, ...args];
    const child = spawn('prlimit', command, {
      cwd: '/',
      // An arena for each thread would use up the address space, and nothing else.
      env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin', LC_ALL: 'C', MALLOC_ARENA_MAX: '2' },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', ...files.map((f) => f.handle.fd)],
    });
    const stop = () => killGroup(child);
    const timer = setTimeout(stop, limits.wall);
    signal?.addEventListener('abort', stop);
    child.once('close', () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    });
    if (signal?.aborted) stop();
    return child;
  }

  /** Nobody may open what nobody owns; the folders around it let in only us. */
  private async admit({ handle, write }: ToolFile): Promise<void> {
    if (this.isolation.user !== null) await handle.chmod(write ? 0o666 : 0o644);
  }
}

export const killGroup = (child: ChildProcess): void => {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
};

/** @throws ToolFailed unless it ended with status 0 */
export const ended = (tool: string, child: ChildProcess): Promise<void> =>
  new Promise((resolve, reject) => {
    let words = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      if (words.length < STDERR_LIMIT) words += text;
    });
    child.once('error', (error) => reject(new ToolFailed(tool, 'could not be started', error.message)));
    child.once('close', (code, signal) =>
      code === 0 ? resolve() : reject(new ToolFailed(tool, signal ?? `status ${code}`, words)),
    );
  });
