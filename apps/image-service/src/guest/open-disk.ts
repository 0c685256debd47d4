import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chown, type FileHandle, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Bytes, type ImageFormat, ms } from '@omnivisor/contracts';
import { z } from 'zod';
import { isPlain } from '../forms/compositions.js';
import { type Stretch, sourceName, TOOL_MEMORY } from '../forms/qemu-img.js';
import { killGroup, type Sandbox, ToolFailed, type ToolFile, type ToolLimits } from '../sandbox/sandbox.js';
import { Unfinished, Unreadable } from './disk.js';
import type { LookTask } from './look-task.js';

const VHD_FOOTER = 512;
/** The look ends before what it asks does. */
const NBD_GRACE = 10_000;
const NBD_LIMITS = { memory: TOOL_MEMORY, cpu: 60, file: 0 as Bytes };
/** Of the whole look at an image, whatever is in it. */
export const LOOK_LIMITS = { memory: (256 * 1024 ** 2) as Bytes, cpu: 60, wall: ms(120_000) };
const NODE = ['--max-old-space-size=192', '--enable-source-maps'];
const TOO_LONG = 'it takes too much time to look at';
/** What the machine had too little of, which says nothing of an image. */
const SHORT =
  /Cannot allocate memory|No space left|Disk quota|Too many open files|Resource temporarily|Permission denied|not permitted/i;
const endedWith = (what: string, status: string) => `it could not be looked at: ${what} ended with ${status}`;
export const LOOK_PROGRAM = fileURLToPath(new URL('./look.js', import.meta.url));

export interface StoredImage {
  readonly handle: FileHandle;
  readonly form: ImageFormat;
  readonly size: number;
  readonly stretch?: Stretch;
}

/** How the program that looks is run. */
export interface LookTool {
  readonly sandbox: Sandbox;
  readonly program: string;
  readonly limits: Omit<ToolLimits, 'file'>;
}

export interface Look<T> {
  readonly what: LookTask['what'];
  readonly answer: z.ZodType<T>;
  /** Where what is copied goes, and the most of each. */
  readonly to?: readonly FileHandle[];
  readonly most?: Bytes;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Has a process of its own look at the disk in an image as its guest sees it, so that nothing in it can hold up or end
 * the service. What is not plain bytes is read by qemu-nbd in the sandbox, which shares nothing with that but a socket.
 * @throws Unreadable, also for what takes more CPU time than it may; Unfinished when the look was ended otherwise; ToolFailed
 */
export const lookInto = async <T>(tool: LookTool, image: StoredImage, look: Look<T>): Promise<T> => {
  const { handle, form, size } = image;
  if (isPlain(form)) {
    const disk = { fd: 3, size: form === 'vhd-fixed' ? size - VHD_FOOTER : size };
    return answerOf(tool, disk, [{ handle, write: false }], look);
  }
  const folder = await mkdtemp(join(tmpdir(), 'image-disk-'));
  try {
    return await served(tool, image, look, folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
};

const served = async <T>(
  tool: LookTool,
  { handle, form, size, stretch }: StoredImage,
  look: Look<T>,
  folder: string,
): Promise<T> => {
  const { sandbox, limits } = tool;
  const { user } = sandbox.isolation;
  if (user !== null) await chown(folder, user, user);
  const socket = join(folder, 'nbd');
  const name = sourceName(form, size, 0, stretch);
  const server = await sandbox.start('qemu-nbd', ['--read-only', `--socket=${socket}`, name], {
    files: [{ handle, write: false }],
    limits: { ...NBD_LIMITS, wall: ms(limits.wall + NBD_GRACE) },
    folder,
  });
  let words = '';
  server.stderr!.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-2_000);
  });
  const closed = once(server, 'close');
  const gone = new AbortController();
  // It ends well when the look does.
  server.once('close', (code) => code === 0 || gone.abort());
  const signal = look.signal ? AbortSignal.any([look.signal, gone.signal]) : gone.signal;
  try {
    return await answerOf(tool, { socket }, [], { ...look, signal });
  } catch (error) {
    throw gone.signal.aborted ? serverEnd(server, words, error) : error;
  } finally {
    killGroup(server);
    await closed;
  }
};

/** Only its own words about the image are a verdict; before it runs, what keeps it in may fail as well. */
const serverEnd = ({ exitCode, signalCode }: ChildProcess, words: string, error: unknown): unknown => {
  if (error instanceof Unreadable && !(error instanceof Unfinished)) return error;
  const cause = new Error(`qemu-nbd: ${signalCode ?? `status ${exitCode}`}: ${words}`, { cause: error });
  if (signalCode === 'SIGXCPU') return new Unreadable(TOO_LONG, { cause });
  if (exitCode === 1 && /^qemu-nbd: /m.test(words) && !SHORT.test(words))
    return new Unreadable('its format is damaged', { cause });
  return new Unfinished(endedWith('its reader', signalCode ?? `status ${exitCode}`), { cause });
};

const answerOf = async <T>(
  { sandbox, program, limits }: LookTool,
  disk: LookTask['disk'],
  files: readonly ToolFile[],
  { what, answer, to = [], most = 0 as Bytes, signal }: Look<T>,
): Promise<T> => {
  const task: LookTask = { what, disk, to: to.map((_, index) => 3 + files.length + index) };
  const all = [...files, ...to.map((handle) => ({ handle, write: true }))];
  try {
    const told = await sandbox.run(process.execPath, [...NODE, program, JSON.stringify(task)], {
      ...{ files: all, ours: true, limits: { ...limits, file: most } },
      ...(signal ? { signal } : {}),
    });
    const result = z.union([z.object({ found: answer }), z.object({ unreadable: z.string() })]).parse(JSON.parse(told));
    if ('unreadable' in result) throw new Unreadable(result.unreadable);
    return result.found;
  } catch (error) {
    if (!(error instanceof ToolFailed) || !error.status.startsWith('SIG') || signal?.aborted) throw error;
    if (error.status === 'SIGXCPU') throw new Unreadable(TOO_LONG, { cause: error });
    throw new Unfinished(error.late ? TOO_LONG : endedWith('its look', error.status), { cause: error });
  }
};
