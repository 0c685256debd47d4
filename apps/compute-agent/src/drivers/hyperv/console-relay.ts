import { EventEmitter } from 'node:events';
import { PassThrough, Writable } from 'node:stream';
import type { ConsoleStream } from '../hypervisor-driver.js';
import { wireCall } from './host-call.js';
import type { HostChannel, HostEvent } from './host-channel.js';
import type { HostConnection } from './host-connection.js';
import { CmdletError } from './host-errors.js';

/** Bytes that a reader may leave unread before it is let go: a guest can write faster than a client reads. */
const BACKLOG = 4 << 20;
const REOPEN_AFTER = 2_000;

/**
 * What a host tells by itself: machines that change, and what guests write to their serial ports. One run of the script
 * does it for all guests; it writes their logs too, as a serial port's pipe has one reader only.
 */
export class ConsoleRelay extends EventEmitter<{ vm: [string]; again: [] }> {
  private channel: HostChannel | null = null;
  private opening: Promise<HostChannel> | null = null;
  private readonly readers = new Map<string, Set<PassThrough>>();
  private wanted = false;
  private closed = false;
  private retry: NodeJS.Timeout | undefined;

  constructor(private readonly host: HostConnection) {
    super();
    this.setMaxListeners(0);
  }

  /** From now on, also after the connection was lost: `again` tells that events may have been missed. */
  async watch(): Promise<void> {
    this.wanted = true;
    await this.connected();
  }

  /** Joins a serial port to its log; again: nothing. */
  async join(vmId: string, pipe: string, log: string): Promise<void> {
    const channel = await this.connected();
    const call = wireCall('Open-HostConsole', { VMId: vmId, Pipe: pipe, Log: log });
    await channel.call(call, this.host.timeoutOf('Open-HostConsole'));
  }

  /** A stream to a serial port that is joined. */
  stream(vmId: string): ConsoleStream {
    const readable = new PassThrough();
    const readers = this.readers.get(vmId) ?? new Set();
    this.readers.set(vmId, readers.add(readable));
    const leave = () => readers.delete(readable);
    readable.once('close', leave);
    const writable = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        const call = wireCall('Write-HostConsole', { VMId: vmId, Base64: chunk.toString('base64') });
        this.connected()
          .then((channel) => channel.call(call, this.host.timeoutOf('Write-HostConsole')))
          .then(
            () => done(),
            () => {
              readable.destroy();
              done();
            },
          );
      },
    });
    return {
      readable,
      writable,
      close: () => {
        leave();
        readable.destroy();
      },
    };
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.retry);
    this.channel?.close();
    for (const readers of this.readers.values()) for (const reader of readers) reader.destroy();
    this.readers.clear();
    this.removeAllListeners();
  }

  private connected(): Promise<HostChannel> {
    if (this.channel?.isOpen) return Promise.resolve(this.channel);
    this.opening ??= this.open().finally(() => {
      this.opening = null;
    });
    return this.opening;
  }

  private async open(): Promise<HostChannel> {
    const channel = this.host.channel();
    channel.on('event', (event) => this.heard(event));
    channel.once('ended', () => this.lost());
    try {
      await channel.hello;
      await watch(channel, this.host.timeoutOf('Watch-HostVM'));
    } catch (error) {
      channel.close();
      throw error;
    }
    this.channel = channel;
    return channel;
  }

  private heard(event: HostEvent): void {
    if (event.event === 'vm') {
      this.emit('vm', event.vmId.toLowerCase());
      return;
    }
    const readers = this.readers.get(event.vmId) ?? [];
    for (const reader of readers)
      if (event.event === 'consoleEnd') reader.end();
      else {
        reader.write(Buffer.from(event.base64, 'base64'));
        if (reader.writableLength + reader.readableLength > BACKLOG) reader.destroy();
      }
  }

  private lost(): void {
    this.channel = null;
    for (const readers of this.readers.values()) for (const reader of readers) reader.end();
    if (this.closed || !this.wanted) return;
    this.retry = setTimeout(() => {
      this.connected().then(
        () => this.emit('again'),
        // Its end has come here already.
        () => undefined,
      );
    }, REOPEN_AFTER);
  }
}

/** An account that may not listen for events has consoles all the same; what happens is seen by those who ask. */
const watch = async (channel: HostChannel, timeout: number): Promise<void> => {
  try {
    await channel.call(wireCall('Watch-HostVM', {}), timeout);
  } catch (error) {
    if (!(error instanceof CmdletError && error.denied)) throw error;
  }
};
