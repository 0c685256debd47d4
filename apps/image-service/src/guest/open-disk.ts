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
import { Unreadable } from './disk.js';
import type { LookTask } from './look-task.js';

const VHD_FOOTER = 512;
/** The whole look at an image, whatever is in it. */
export const LOOK_DEADLINE = ms(120_000);
const NBD_LIMITS = { memory: TOOL_MEMORY, cpu: 60, file: 0 as Bytes, wall: LOOK_DEADLINE };
export const LOOK_LIMITS = { memory: (256 * 1024 ** 2) as Bytes, cpu: 60, wall: LOOK_DEADLINE };
const NODE = ['--max-old-space-size=192', '--enable-source-maps'];
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
 * @throws Unreadable, also for what takes more than the limits
 */
export const lookInto = async <T>(tool: LookTool, image: StoredImage, look: Look<T>): Promise<T> => {
  const { handle, form, size, stretch } = image;
  if (isPlain(form)) {
    const disk = { fd: 3, size: form === 'vhd-fixed' ? size - VHD_FOOTER : size };
    return answerOf(tool, disk, [{ handle, write: false }], look);
  }
  const { sandbox } = tool;
  const folder = await mkdtemp(join(tmpdir(), 'image-disk-'));
  const { user } = sandbox.isolation;
  if (user !== null) await chown(folder, user, user);
  const socket = join(folder, 'nbd');
  const name = sourceName(form, size, 0, stretch);
  const server = await sandbox.start('qemu-nbd', ['--read-only', `--socket=${socket}`, name], {
    files: [{ handle, write: false }],
    limits: NBD_LIMITS,
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
    if (error instanceof Unreadable || !gone.signal.aborted) throw error;
    if (server.exitCode !== null) throw new Unreadable('its format is damaged', { cause: words });
    throw new Error(`qemu-nbd ended with ${server.signalCode}: ${words}`, { cause: error });
  } finally {
    killGroup(server);
    await closed;
    await rm(folder, { recursive: true, force: true });
  }
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
    const killed = error instanceof ToolFailed && error.status.startsWith('SIG') && !signal?.aborted;
    throw killed ? new Unreadable('it takes too much time or memory to look at', { cause: error }) : error;
  }
};
