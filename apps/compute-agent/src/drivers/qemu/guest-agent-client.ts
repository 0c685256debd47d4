import { randomInt } from 'node:crypto';
import type { Socket } from 'node:net';
import { connectUnix } from '../common/unix-socket.js';
import { HypervisorError } from '../hypervisor-driver.js';

/**
 * QEMU's guest agent over its channel: one JSON object a line. A guest may answer what an earlier caller asked, or lie,
 * so each conversation begins with a number that it has to give back.
 */
export class GuestAgentClient {
  private text = '';
  private heard: () => void = () => {};

  private constructor(
    private readonly socket: Socket,
    private readonly timeout: number,
  ) {
    socket.on('data', (data: Buffer) => {
      // What is too long is not meant for us.
      this.text = (this.text + data.toString('utf8')).slice(-1 << 20);
      this.heard();
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.heard());
  }

  /** @throws HypervisorError `unavailable` when no agent answers */
  static async connect(path: string, timeout: number): Promise<GuestAgentClient> {
    const socket = await connectUnix(path).catch((error: unknown) => {
      throw new HypervisorError('unavailable', 'the guest agent does not answer', (error as Error).message);
    });
    const client = new GuestAgentClient(socket, timeout);
    try {
      const id = randomInt(2 ** 31);
      // The byte ends whatever was sent before and is no JSON; the agent puts it before its answer too.
      socket.write('\xff', 'latin1');
      client.send('guest-sync-delimited', { id });
      for (;;) if ((await client.line()).return === id) return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  async call<T>(command: string, args?: Record<string, unknown>): Promise<T> {
    this.send(command, args);
    const answer = await this.line();
    const error = answer.error as { class: string; desc: string } | undefined;
    if (error) throw new HypervisorError('fault', 'the guest agent refused', `${error.class}: ${error.desc}`);
    return answer.return as T;
  }

  /** For what nothing answers when it succeeds. */
  tell(command: string, args?: Record<string, unknown>): void {
    this.send(command, args);
  }

  close(): void {
    this.socket.destroy();
  }

  private send(command: string, args?: Record<string, unknown>): void {
    this.socket.write(`${JSON.stringify({ execute: command, ...(args ? { arguments: args } : {}) })}\n`);
  }

  private async line(): Promise<Record<string, unknown>> {
    const deadline = Date.now() + this.timeout;
    for (;;) {
      const end = this.text.indexOf('\n');
      if (end >= 0) {
        const line = this.text.slice(0, end).replace(/^[^{]*/, '');
        this.text = this.text.slice(end + 1);
        try {
          return JSON.parse(line);
        } catch {
          continue;
        }
      }
      const left = deadline - Date.now();
      if (left <= 0 || this.socket.destroyed)
        throw new HypervisorError('unavailable', 'the guest agent does not answer');
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.heard = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}
