import type { ServerId } from '@omnivisor/contracts';
import type { DriverEvent } from '../hypervisor-driver.js';

/**
 * Fans events of guests out to any number of readers. Events are hints, so a reader that falls behind gets each server
 * once: what waits is bounded by the number of guests.
 */
export class EventChannel {
  private readonly readers = new Set<(serverId: ServerId) => void>();
  private readonly closing = new AbortController();

  publish(serverId: ServerId): void {
    for (const reader of this.readers) reader(serverId);
  }

  /** Ends when `signal` aborts or the channel is closed. Listening starts with the call, not with the first read. */
  subscribe(signal: AbortSignal): AsyncIterable<DriverEvent> {
    const waiting = new Set<ServerId>();
    let wake = () => {};
    const reader = (serverId: ServerId) => {
      waiting.add(serverId);
      wake();
    };
    const end = AbortSignal.any([signal, this.closing.signal]);
    this.readers.add(reader);
    const stop = () => {
      this.readers.delete(reader);
      wake();
    };
    if (end.aborted) stop();
    else end.addEventListener('abort', stop, { once: true });
    async function* read(): AsyncGenerator<DriverEvent> {
      try {
        while (!end.aborted) {
          const [serverId] = waiting;
          if (serverId === undefined) {
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          } else {
            waiting.delete(serverId);
            yield { serverId };
          }
        }
      } finally {
        stop();
      }
    }
    return read();
  }

  close(): void {
    this.closing.abort();
  }
}
