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
    /** Its wall time was up. */
    readonly late = false,
  ) {
    super(`${tool}: ${status}: ${stderr.trim().slice(-2_000)}`);
  }
}

const NOBODY = 65_534;
const STDERR_LIMIT = 64 * 1024;
/** The tool's files are its descriptors 3, 4, …: it gets no path of ours. */
export const toolPath = (index: number): string => `/dev/fd/${3 + index}`;

/** An arena for each thread would use up the address space, and nothing else. */
const ENVIRONMENT = { PATH: '/usr/bin:/bin:/usr/sbin:/sbin', LC_ALL: 'C', MALLOC_ARENA_MAX: '2' };
/**
 * Of it each thread takes as much as the stack may become, and counts as data: for a program of ours no more than is usual, and
 * for a tool less, for where disks are slow QEMU's have as many as 64.
 */
const STACKS = { ours: '--stack=8388608:', tool: '--stack=2097152:' };
/** Seconds from the signal that says that the CPU time is up to the end. */
const CPU_GRACE = 5;
/** Starts guests to inject drivers. Few machines have it, and it is no loss to the others. */
export const EMULATOR = 'qemu-system-x86_64';
const TOOLS = ['qemu-img', 'qemu-nbd', EMULATOR];

const works = (command: readonly string[]): boolean =>
  spawnSync(command[0]!, command.slice(1), { env: ENVIRONMENT }).status === 0;

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
  private readonly late = new WeakSet<ChildProcess>();

  private constructor(
    readonly isolation: Isolation,
    /** Of the tools that were looked for, those that do not run here. */
    readonly missing: readonly string[],
    private readonly wrapper: (folder: string) => readonly string[],
    private readonly stacks: { readonly ours: readonly string[]; readonly tool: readonly string[] },
  ) {}

  /** @throws DomainError `unsupported` on a machine without util-linux */
  static detect(tools: readonly string[] = TOOLS): Sandbox {
    const [isolation, wrapper] = Sandbox.isolate();
    const missing = tools.filter((tool) => !works([...wrapper(''), tool, '--version']));
    // Where the hard limit is lower nobody may set it, and nobody has to.
    const stack = (limit: string) => (works(['prlimit', limit, 'true']) ? [limit] : []);
    return new Sandbox(isolation, missing, wrapper, { ours: stack(STACKS.ours), tool: stack(STACKS.tool) });
  }

  private static isolate(): [Isolation, (folder: string) => readonly string[]] {
    const user = process.getuid?.() === 0 ? NOBODY : null;
    const drop = user === null ? [] : dropped(user);
    const base = [...drop, ...sealed];
    if (!works(['prlimit', '--core=0', ...base, 'true']))
      throw unsupported('This machine has no prlimit and setpriv to keep a converter within bounds.');
    const whole = (folder: string) => [...drop, ...alone, folder, ...sealed, ...bare];
    // The last of its words is a file that is there on every machine, and not in a root of the tool's own.
    if (works([...whole(''), 'test', '-e', '/dev/fd/0', '-a', '!', '-e', '/etc/passwd']))
      return [{ user, network: true, files: true }, whole];
    const offline = [...drop, ...apart, ...sealed];
    const network = works([...offline, 'true']);
    return [{ user, network, files: false }, () => (network ? offline : base)];
  }

  has(tool: string): boolean {
    return !this.missing.includes(tool);
  }

  /** @returns what it wrote to its standard output @throws ToolFailed; DomainError `unsupported` for a tool that is missing */
  async run(tool: string, args: readonly string[], options: ToolOptions): Promise<string> {
    const child = await this.start(tool, args, options);
    let output = '';
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      if (output.length < STDERR_LIMIT) output += text;
    });
    await this.ended(tool, child);
    return output;
  }

  /**
   * Starts a tool that goes on until it is killed or its time is up.
   * @throws ToolFailed when it cannot be started; DomainError `unsupported` for a tool that is missing
   */
  async start(tool: string, args: readonly string[], options: ToolOptions): Promise<ChildProcess> {
    const { files, limits, folder = '', signal, ours = false } = options;
    if (!this.has(tool)) throw unsupported(`This service has no ${tool}.`);
    if (!ours) for (const file of files) await this.admit(file);
    const bounds = [
      `--${ours ? 'data' : 'as'}=${limits.memory}`,
      `--cpu=${limits.cpu}:${limits.cpu + CPU_GRACE}`,
      `--fsize=${limits.file}`,
      '--nofile=64',
      '--core=0',
      ...this.stacks[ours ? 'ours' : 'tool'],
    ];
    const command = [...bounds, ...(ours ? sealed : this.wrapper(folder)), tool, ...args];
    const child = spawn('prlimit', command, {
      cwd: '/',
      env: ENVIRONMENT,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', ...files.map((f) => f.handle.fd)],
    });
    // Without descriptors left it has not even streams.
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.on('error', (error) => reject(new ToolFailed(tool, 'could not be started', error.message)));
    });
    const stop = () => killGroup(child);
    const timer = setTimeout(() => {
      if (isAlive(child)) this.late.add(child);
      stop();
    }, limits.wall);
    signal?.addEventListener('abort', stop);
    child.once('close', () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    });
    if (signal?.aborted) stop();
    return child;
  }

  /** @throws ToolFailed unless it ended with status 0 */
  private ended(tool: string, child: ChildProcess): Promise<void> {
    return new Promise((resolve, reject) => {
      let words = '';
      child.stderr!.setEncoding('utf8').on('data', (text: string) => {
        if (words.length < STDERR_LIMIT) words += text;
      });
      child.once('close', (code, signal) =>
        code === 0 ? resolve() : reject(new ToolFailed(tool, signal ?? `status ${code}`, words, this.late.has(child))),
      );
    });
  }

  /** Nobody may open what nobody owns; the folders around it let in only us. */
  private async admit({ handle, write }: ToolFile): Promise<void> {
    if (this.isolation.user !== null) await handle.chmod(write ? 0o666 : 0o644);
  }
}

const isAlive = (child: ChildProcess): boolean => child.exitCode === null && child.signalCode === null;

export const killGroup = (child: ChildProcess): void => {
  if (child.pid === undefined || !isAlive(child)) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
};
