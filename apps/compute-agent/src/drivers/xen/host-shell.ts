import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Readable, Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createGunzip } from 'node:zlib';
import { asHypervisorError } from '../common/native-command.js';
import { type SshTarget, sshArguments } from '../common/ssh.js';
import { HypervisorError } from '../hypervisor-driver.js';
import { LEAVING, UNGUARDED } from './scripts.js';
import { Slots } from './slots.js';

export type ShellProcess = ChildProcessByStdio<Writable, Readable, Readable>;

/**
 * Starts a script of this driver in dom0. Scripts are constants; what differs from call to call are their arguments,
 * which a shell never reads as text of its own.
 */
export interface HostShell {
  readonly isRemote: boolean;
  start(script: string, args: readonly string[]): ShellProcess;
  close(): void;
}

const commandOf = (script: string, args: readonly string[]): string[] => ['-c', script, 'omnivisor', ...args];

/** The agent runs in dom0. */
export class LocalShell implements HostShell {
  readonly isRemote = false;

  constructor(private readonly environment: Readonly<Record<string, string>> = {}) {}

  start(script: string, args: readonly string[]): ShellProcess {
    // A group of its own: what ends the agent by its terminal does not end a change in the middle.
    return spawn('/bin/sh', commandOf(script, args), {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, ...this.environment },
    });
  }

  close(): void {}
}

/** One word of a POSIX shell, whatever is in it. @throws HypervisorError `fault` for what no argument can hold */
export const quoted = (word: string): string => {
  if (word.includes('\0')) throw new HypervisorError('fault', 'an argument holds a zero byte');
  return `'${word.replaceAll("'", `'\\''`)}'`;
};

/** A server takes few connections at once that have not shown who they are, so calls wait for the one that they share. */
const WHEN_CONNECTED = 'while [ ! -S "$1" ] && kill -0 "$2" 2>/dev/null; do sleep 0.1; done; shift 2; exec "$@"';

/** dom0 by OpenSSH. Calls share one connection, which is opened when it is needed. */
export class SshShell implements HostShell {
  readonly isRemote = true;
  private readonly folder = mkdtempSync(join(tmpdir(), 'omnivisor-xen-'));
  private readonly socket = join(this.folder, 'ssh');
  private master: ShellProcess | null = null;

  constructor(
    private readonly target: SshTarget,
    private readonly ssh = 'ssh',
  ) {}

  start(script: string, args: readonly string[]): ShellProcess {
    const { pid } = this.connect();
    // When the shared connection is full, ssh opens one of its own.
    const command = ['exec', ...['/bin/sh', ...commandOf(script, args)].map(quoted)].join(' ');
    const options = sshArguments(this.target, command, { ControlMaster: 'no', ControlPath: this.socket });
    return spawn('/bin/sh', ['-c', WHEN_CONNECTED, 'omnivisor', this.socket, String(pid), this.ssh, ...options], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  }

  close(): void {
    this.master?.kill();
    this.master = null;
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Ends with this process: what it runs over there reads from here. */
  private connect(): ShellProcess {
    if (this.master) return this.master;
    const master = this.spawn('exec cat >/dev/null', { ControlMaster: 'yes', ControlPath: this.socket });
    this.master = master;
    const gone = () => {
      if (this.master === master) this.master = null;
    };
    master.once('error', gone).once('exit', gone);
    master.stdin.on('error', gone);
    master.stdout.resume();
    master.stderr.resume();
    return master;
  }

  private spawn(command: string, options: Readonly<Record<string, string>>): ShellProcess {
    return spawn(this.ssh, sshArguments(this.target, command, options), { stdio: ['pipe', 'pipe', 'pipe'] });
  }
}

/** What ssh ends with when it has no connection; our scripts never do. */
const NO_CONNECTION = 255;
/** What our scripts end with when a guest's lock was not to be had. */
const LOCKED = 75;
/** What a shell adds to the number of the signal that ended a tool, as when xl aborts. */
const BY_SIGNAL = 128;
/** What `timeout` ends with, when xl does not end. */
const HUNG = 124;
const MOST_SAID = 4000;
/** Milliseconds. */
const LONGEST_LOCK_WAIT = 600_000;
/** With the connection itself and the watch, as many as OpenSSH's server takes on one. */
export const LIMITS = { calls: 5, looks: 3, answer: 120_000 };

export interface CallOptions {
  readonly input?: Readable | Buffer;
  readonly signal?: AbortSignal;
  /** Milliseconds. */
  readonly timeout?: number;
}

/** Calls of one host, bounded in number and time. */
export class Host {
  private readonly changes: Slots;
  private readonly looks: Slots;

  /** @param limits calls at once, and milliseconds for one that is not given longer */
  constructor(
    readonly shell: HostShell,
    private readonly limits: { readonly calls: number; readonly looks: number; readonly answer: number } = LIMITS,
  ) {
    this.changes = new Slots(limits.calls);
    this.looks = new Slots(limits.looks);
  }

  /**
   * Runs a script to its end and gives what it wrote.
   * @throws HypervisorError `unavailable` when the host does not answer, `noResources` when its disk or memory is full, else `fault`
   */
  async call(script: string, args: readonly string[], options: CallOptions = {}): Promise<string> {
    return (await this.bytes(script, args, options)).toString('utf8');
  }

  async bytes(script: string, args: readonly string[], options: CallOptions = {}): Promise<Buffer> {
    return this.run(this.changes, script, args, options);
  }

  /** As `call`, for what only looks and soon ends: it does not wait behind changes. */
  async look(script: string, args: readonly string[], options: CallOptions = {}): Promise<string> {
    return (await this.run(this.looks, script, args, options)).toString('utf8');
  }

  /** Seconds that a script may wait for a guest's lock, so that there is time to act before its caller gives up. */
  lockWait(timeout = this.limits.answer): string {
    return String(Math.ceil(Math.min(timeout / 2, LONGEST_LOCK_WAIT) / 1000));
  }

  private run(slots: Slots, script: string, args: readonly string[], options: CallOptions): Promise<Buffer> {
    const { timeout = this.limits.answer, signal } = options;
    const late = () => new HypervisorError('unavailable', 'other calls of the Xen host do not end');
    return slots.run(timeout, late, async () => {
      if (signal?.aborted) throw aborted();
      return run(this.shell.start(script, args), { ...options, timeout });
    });
  }

  /**
   * Runs a script that writes a number of bytes in a line of its own, and then so many, which go through its last argument:
   * they are packed on the way from another machine. The stream fails when there are less; the script ends with it.
   */
  async read(
    script: string,
    args: readonly string[],
    signal: AbortSignal,
  ): Promise<{ readonly size: number; readonly stream: Readable }> {
    if (signal.aborted) throw aborted();
    const { isRemote } = this.shell;
    const child = this.shell.start(script, [...args, isRemote ? 'gzip -1' : 'cat']);
    child.stdin.on('error', () => undefined).end();
    let complaint = '';
    child.stderr.on('data', (bytes: Buffer) => {
      complaint = (complaint + bytes.toString()).slice(-MOST_SAID);
    });
    const stop = () => child.kill();
    signal.addEventListener('abort', stop, { once: true });
    try {
      const size = await firstLine(child);
      if (signal.aborted) throw aborted();
      if (!/^\d+$/.test(size)) throw endedWith(child.exitCode, complaint);
      const stream = exactly(Number(size));
      // What ends in the middle is told by its length.
      const packed = { finishFlush: constants.Z_SYNC_FLUSH };
      pipeline([child.stdout, ...(isRemote ? [createGunzip(packed)] : []), stream]).then(
        () => undefined,
        () => stop(),
      );
      return { size: Number(size), stream };
    } catch (error) {
      stop();
      throw error;
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }
}

const aborted = () => new HypervisorError('fault', 'it was aborted');

/** The first that is not empty; empty when it ends without one. */
const firstLine = async (child: ShellProcess): Promise<string> => {
  const ended = new Promise<number | null>((resolve) => {
    child.once('error', () => resolve(NO_CONNECTION)).once('exit', resolve);
  });
  const letters: string[] = [];
  for (;;) {
    const byte = child.stdout.read(1) as Buffer | null;
    if (byte?.[0] === 10) {
      if (letters.length > 0) return letters.join('');
    } else if (byte) letters.push(byte.toString('latin1'));
    else {
      const more = new Promise((resolve) => child.stdout.once('readable', resolve).once('end', resolve));
      if (child.stdout.readableEnded) {
        await ended;
        return '';
      }
      await more;
    }
  }
};

const exactly = (size: number): Transform => {
  let left = size;
  return new Transform({
    transform(part: Buffer, _encoding, done) {
      left -= part.length;
      done(null, part);
    },
    flush: (done) => done(left === 0 ? null : new HypervisorError('unavailable', 'the disk ended in the middle')),
  });
};

/** @param code null when it was ended */
const endedWith = (code: number | null, complaint: string): HypervisorError => {
  if (code === NO_CONNECTION || code === HUNG || code === null || code > BY_SIGNAL)
    return unavailable(complaint.trim() || (code === null ? 'it was ended' : `ended with ${code}`));
  if (code === LOCKED) return new HypervisorError('unavailable', 'another change of the guest does not end');
  if (code === LEAVING)
    return new HypervisorError(
      'unavailable',
      'a guest that is at another host cannot be cleared away',
      complaint.trim(),
    );
  if (code === UNGUARDED)
    return new HypervisorError('unsupported', 'the Xen host cannot guard a port', complaint.trim());
  return asHypervisorError(new Error(`ended with ${code}`), 'a change on the Xen host', complaint);
};

const unavailable = (why: string) => new HypervisorError('unavailable', 'the Xen host does not answer', why);

const run = async (child: ShellProcess, { input, signal, timeout = 0 }: CallOptions): Promise<Buffer> => {
  const said: Buffer[] = [];
  let complaint = '';
  child.stdout.on('data', (bytes: Buffer) => said.push(bytes));
  child.stderr.on('data', (bytes: Buffer) => {
    complaint = (complaint + bytes.toString()).slice(-MOST_SAID);
  });
  let giveUp = (_why: HypervisorError): void => undefined;
  const givenUp = new Promise<never>((_, reject) => {
    // What has begun to change something goes on, as it does over there; a script that waits for its lock ends.
    giveUp = (why) => {
      reject(why);
      child.kill();
      child.unref();
      for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe.destroy();
    };
  });
  const timer = setTimeout(() => giveUp(unavailable(`no end of a call in ${timeout} ms`)), timeout);
  const abort = () => giveUp(aborted());
  signal?.addEventListener('abort', abort, { once: true });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code));
  });
  // A script that ends early lets go of its input, which is told by how it ends.
  const fed = feed(child.stdin, input).then(
    () => null,
    (error: unknown) => error,
  );
  try {
    const settled = ended.catch((error: unknown) => {
      throw unavailable(String(error));
    });
    const code = await Promise.race([settled, givenUp]);
    if (signal?.aborted) throw aborted();
    if (code !== 0) throw endedWith(code, complaint);
    const failure = await fed;
    if (failure) throw asHypervisorError(failure, 'reading what goes to the Xen host');
    return Buffer.concat(said);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
};

const feed = async (stdin: Writable, input: Readable | Buffer | undefined): Promise<void> => {
  if (input === undefined || Buffer.isBuffer(input)) {
    stdin.on('error', () => undefined);
    stdin.end(input);
    return;
  }
  await pipeline(input, stdin);
};
