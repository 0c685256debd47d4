import { EventEmitter } from 'node:events';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { HypervisorError } from '../hypervisor-driver.js';
import type { WireCall } from './host-call.js';
import { CmdletError, ErrorRecord } from './host-errors.js';

/** A run of the host script, wherever it is. */
export interface HostProcess {
  readonly input: NodeJS.WritableStream;
  readonly output: NodeJS.ReadableStream;
  /** Resolves, with what was last said on standard error, when it has ended or could not be started. */
  readonly ended: Promise<string>;
  kill(): void;
}
export type OpenProcess = () => HostProcess;

export const PROTOCOL = 3;

export const Hello = z.object({
  protocol: z.number(),
  powershell: z.string(),
  build: z.number(),
  product: z.string(),
  languageMode: z.string(),
});
export type Hello = z.output<typeof Hello>;

/** What the script tells without being asked. */
export const HostEvent = z.discriminatedUnion('event', [
  z.object({ event: z.literal('vm'), vmId: z.string(), enabledState: z.number() }),
  z.object({ event: z.literal('console'), vmId: z.string(), base64: z.string() }),
  z.object({ event: z.literal('consoleEnd'), vmId: z.string() }),
]);
export type HostEvent = z.output<typeof HostEvent>;

const Line = z.union([
  z.object({ id: z.number(), ok: z.literal(true), result: z.array(z.unknown()) }),
  z.object({ id: z.number().nullable(), ok: z.literal(false), error: ErrorRecord }),
  z.object({ hello: Hello }),
  HostEvent,
]);

interface Waiting {
  readonly cmdlet: string;
  resolve(result: unknown[]): void;
  reject(error: Error): void;
}

/** Longest time until the script has said hello: PowerShell starts slowly. */
const START_LIMIT = 45_000;

/**
 * One run of the host script, which answers one call after the other. When the process ends, all that waits is
 * `unavailable`. Emits `event` with a HostEvent, and `ended`.
 */
export class HostChannel extends EventEmitter<{ event: [HostEvent]; ended: [] }> {
  readonly hello: Promise<Hello>;
  private readonly waiting = new Map<number, Waiting>();
  private nextId = 1;
  private end: HypervisorError | null = null;
  private readonly process: HostProcess;

  constructor(open: OpenProcess) {
    super();
    this.process = open();
    let greeted = (_: Hello) => {};
    let failed = (_: Error) => {};
    this.hello = new Promise((resolve, reject) => {
      greeted = resolve;
      failed = reject;
    });
    this.hello.catch(() => undefined);
    const late = setTimeout(() => this.fail('the host script did not start in time'), START_LIMIT);
    const lines = createInterface({ input: this.process.output });
    lines.on('line', (text) => {
      const line = parse(text);
      // Whatever else PowerShell prints is no answer.
      if (line === null) return;
      if ('hello' in line) {
        clearTimeout(late);
        greeted(line.hello);
      } else if ('event' in line) this.emit('event', line);
      else this.settle(line);
    });
    lines.on('error', () => undefined);
    this.process.input.on('error', () => undefined);
    void this.process.ended.then((said) => {
      clearTimeout(late);
      this.fail(said || 'the host script ended');
      failed(this.end!);
    });
  }

  get isOpen(): boolean {
    return this.end === null;
  }

  /** @throws CmdletError what the call failed with; HypervisorError `unavailable` when no answer came in time */
  async call(call: WireCall, timeout: number, signal?: AbortSignal): Promise<unknown[]> {
    if (this.end) throw this.end;
    const id = this.nextId++;
    const answered = new Promise<unknown[]>((resolve, reject) => {
      this.waiting.set(id, { cmdlet: call.cmdlet, resolve, reject });
    });
    this.write({ id, ...call });
    const late = setTimeout(() => this.fail(`no answer to ${call.cmdlet}`), timeout);
    const cancel = () => this.write({ cancel: id });
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      return await answered;
    } finally {
      clearTimeout(late);
      signal?.removeEventListener('abort', cancel);
    }
  }

  close(): void {
    this.fail('the connection was closed');
  }

  private write(line: object): void {
    this.process.input.write(`${JSON.stringify(line)}\n`);
  }

  private settle(
    line: { id: number | null; ok: true; result: unknown[] } | { id: number | null; ok: false; error: ErrorRecord },
  ) {
    const waiting = line.id === null ? undefined : this.waiting.get(line.id);
    if (!waiting) return;
    this.waiting.delete(line.id!);
    if (line.ok) waiting.resolve(line.result);
    else waiting.reject(new CmdletError(waiting.cmdlet, line.error));
  }

  private fail(native: string): void {
    if (this.end) return;
    this.end = new HypervisorError('unavailable', 'the Hyper-V host does not answer', native.trim().slice(-2000));
    for (const { reject } of this.waiting.values()) reject(this.end);
    this.waiting.clear();
    // The script ends with its input; the process is not waited for.
    this.process.input.end();
    this.process.kill();
    this.emit('ended');
  }
}

const parse = (text: string): z.output<typeof Line> | null => {
  if (!text.startsWith('{')) return null;
  try {
    return Line.parse(JSON.parse(text));
  } catch {
    return null;
  }
};
