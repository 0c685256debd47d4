import type { Socket } from 'node:net';
import { connectUnix } from '../common/unix-socket.js';
import { HypervisorError } from '../hypervisor-driver.js';

export interface QmpEvent {
  readonly event: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
  readonly timer: NodeJS.Timeout;
}

/** QEMU's machine protocol over a stream: one JSON object per line, answers matched by id, events in between. */
export class QmpClient {
  private readonly waiting = new Map<number, Waiting>();
  private readonly listeners = new Set<(event: QmpEvent) => void>();
  private readonly closeListeners = new Set<() => void>();
  private lastId = 0;
  private buffer = '';
  private ended = false;
  private greeted = () => {};

  private constructor(
    private readonly socket: Socket,
    private readonly timeout: number,
  ) {
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.read(text));
    socket.on('error', () => this.end());
    socket.on('close', () => this.end());
  }

  /**
   * @param timeout milliseconds until a silent QEMU counts as not answering; QEMU serves one client at a time, so a
   *   second one waits for its greeting in vain
   */
  static async connect(path: string, timeout: number): Promise<QmpClient> {
    const client = new QmpClient(await connectUnix(path), timeout);
    try {
      await client.greeting();
      await client.call('qmp_capabilities');
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** @throws HypervisorError `unavailable` when the connection is gone or silent, `fault` when QEMU refuses */
  call<T = unknown>(command: string, args?: Readonly<Record<string, unknown>>): Promise<T> {
    if (this.ended) return Promise.reject(gone());
    const id = ++this.lastId;
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(silent(command, this.timeout));
      }, this.timeout);
      this.waiting.set(id, { resolve: resolve as (value: unknown) => void, reject, timer });
      this.socket.write(`${JSON.stringify({ execute: command, ...(args ? { arguments: args } : {}), id })}\n`);
    });
  }

  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** @returns takes the listener off again */
  onClose(listener: () => void): () => void {
    if (this.ended) queueMicrotask(listener);
    else this.closeListeners.add(listener);
    return () => void this.closeListeners.delete(listener);
  }

  get closed(): boolean {
    return this.ended;
  }

  close(): void {
    this.socket.destroy();
    this.end();
  }

  private greeting(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(silent('greeting', this.timeout)), this.timeout);
      this.greeted = () => {
        clearTimeout(timer);
        resolve();
      };
      this.onClose(() => {
        clearTimeout(timer);
        reject(gone());
      });
    });
  }

  private read(text: string): void {
    const lines = (this.buffer + text).split('\n');
    this.buffer = lines.pop() ?? '';
    for (const line of lines) {
      const message = parse(line);
      if (message) this.take(message);
      else if (line.trim()) this.close();
    }
  }

  private take(message: Record<string, unknown>): void {
    if (message.QMP) this.greeted();
    else if (typeof message.event === 'string') for (const listener of this.listeners) listener(message as never);
    else if (typeof message.id === 'number') {
      const waiting = this.waiting.get(message.id);
      if (!waiting) return;
      this.waiting.delete(message.id);
      clearTimeout(waiting.timer);
      const error = message.error as { class: string; desc: string } | undefined;
      if (error) waiting.reject(new HypervisorError('fault', 'QEMU refused the call', `${error.class}: ${error.desc}`));
      else waiting.resolve(message.return);
    }
  }

  private end(): void {
    if (this.ended) return;
    this.ended = true;
    for (const { reject, timer } of this.waiting.values()) {
      clearTimeout(timer);
      reject(gone());
    }
    this.waiting.clear();
    for (const listener of this.closeListeners) listener();
  }
}

const parse = (line: string): Record<string, unknown> | null => {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
};

const gone = () => new HypervisorError('unavailable', 'the QEMU process closed its control connection');
const silent = (what: string, timeout: number) =>
  new HypervisorError('unavailable', 'the QEMU process does not answer', `${what}: no answer in ${timeout} ms`);
