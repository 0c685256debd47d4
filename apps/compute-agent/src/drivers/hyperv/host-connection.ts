import { z } from 'zod';
import { HypervisorError } from '../hypervisor-driver.js';
import { type HostCommand, type HostCommands, type Selection, type WireCall, wireCall } from './host-call.js';
import { type Hello, HostChannel, type OpenProcess } from './host-channel.js';

export interface HostConnectionOptions {
  readonly open: OpenProcess;
  /** Runs of the script at most, beside the one that watches. */
  readonly workers?: number;
  /** Milliseconds until a call that is not about bytes counts as not answered. */
  readonly answerTimeout?: number;
}

/** Commands that move or copy bytes, or wait for a guest's memory. */
const LONG = new Set<HostCommand>([
  ...(['Receive-HostImage', 'Convert-VHD', 'New-VHD', 'Resize-VHD', 'Checkpoint-VM', 'Remove-VMSnapshot'] as const),
  ...(['Move-VM', 'Save-VM', 'Start-VM'] as const),
]);
const LONG_LIMIT = 60 * 60_000;

/**
 * Calls to one host. Each goes to a run of the script that is free: so calls go on side by side, and one that hangs takes
 * its own run with it and no other.
 */
export class HostConnection {
  private readonly idle: HostChannel[] = [];
  private readonly busy = new Set<HostChannel>();
  private readonly queue: ((channel: HostChannel) => void)[] = [];
  private closed = false;

  constructor(private readonly options: HostConnectionOptions) {}

  /** Who answers there. */
  async hello(): Promise<Hello> {
    return this.use((channel) => channel.hello);
  }

  /** Does something and gives nothing back. */
  async run<C extends HostCommand>(cmdlet: C, parameters: HostCommands[C], signal?: AbortSignal): Promise<void> {
    await this.send(cmdlet, wireCall(cmdlet, parameters), signal);
  }

  /** What a command gives: the properties that the schema names, checked by it. */
  async get<C extends HostCommand, S extends z.ZodObject>(
    cmdlet: C,
    parameters: HostCommands[C],
    schema: S,
    where?: WireCall['where'],
  ): Promise<z.output<S>[]> {
    const call = wireCall(cmdlet, parameters, { select: selectionOf(schema), ...(where ? { where } : {}) });
    const result = z.array(schema).safeParse(await this.send(cmdlet, call));
    if (result.success) return result.data;
    throw new HypervisorError(
      'fault',
      'the Hyper-V host gave an answer that is none',
      `${cmdlet}: ${result.error.message}`,
    );
  }

  /** A run of the script for events and consoles, which the caller closes. */
  channel(): HostChannel {
    return new HostChannel(this.options.open);
  }

  timeoutOf(cmdlet: HostCommand): number {
    return LONG.has(cmdlet) ? LONG_LIMIT : (this.options.answerTimeout ?? 60_000);
  }

  close(): void {
    this.closed = true;
    for (const channel of [...this.idle, ...this.busy]) channel.close();
  }

  private send(cmdlet: HostCommand, call: WireCall, signal?: AbortSignal): Promise<unknown[]> {
    return this.use((channel) => channel.call(call, this.timeoutOf(cmdlet), signal));
  }

  private async use<T>(action: (channel: HostChannel) => Promise<T>): Promise<T> {
    if (this.closed) throw new HypervisorError('unavailable', 'the connection to the Hyper-V host is closed');
    const channel = await this.take();
    try {
      return await action(channel);
    } finally {
      this.busy.delete(channel);
      if (channel.isOpen) this.give(channel);
      else if (this.queue.length > 0) this.give(new HostChannel(this.options.open));
    }
  }

  private async take(): Promise<HostChannel> {
    const free = this.idle.pop();
    if (free?.isOpen) return this.mark(free);
    if (free) return this.take();
    if (this.busy.size < (this.options.workers ?? 4)) return this.mark(new HostChannel(this.options.open));
    return new Promise((resolve) => this.queue.push((channel) => resolve(this.mark(channel))));
  }

  private give(channel: HostChannel): void {
    const next = this.queue.shift();
    if (next) next(channel);
    else this.idle.push(channel);
  }

  private mark(channel: HostChannel): HostChannel {
    this.busy.add(channel);
    return channel;
  }
}

/** The property tree that a schema reads. */
export const selectionOf = (schema: z.ZodObject): Selection =>
  Object.fromEntries(Object.entries(schema.shape).map(([name, field]) => [name, fieldSelection(field as z.ZodType)]));

const fieldSelection = (field: z.ZodType): true | Selection => {
  if (field instanceof z.ZodObject) return selectionOf(field);
  if (field instanceof z.ZodArray) return fieldSelection(field.element as z.ZodType);
  if (field instanceof z.ZodNullable || field instanceof z.ZodOptional || field instanceof z.ZodDefault)
    return fieldSelection(field.unwrap() as z.ZodType);
  return true;
};
