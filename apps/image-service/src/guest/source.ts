import { Unreadable } from './disk.js';

/** Of bytes that do not decompress. */
export const damaged = (cause?: unknown): Unreadable => new Unreadable('its compressed data is damaged', { cause });

/** Bytes that come in pieces and are taken in any portion; each is copied once. */
export class Source {
  private readonly iterator: AsyncIterator<Buffer>;
  private rest: Buffer = Buffer.alloc(0);
  at = 0;

  constructor(bytes: AsyncIterable<Buffer>) {
    this.iterator = bytes[Symbol.asyncIterator]();
  }

  /** The next few bytes without taking them; fewer at the end. */
  async peek(length: number): Promise<Buffer> {
    while (this.rest.length < length) {
      const next = await this.iterator.next();
      if (next.done) break;
      this.rest = this.rest.length === 0 ? next.value : Buffer.concat([this.rest, next.value]);
    }
    return this.rest.subarray(0, length);
  }

  /** @throws Unreadable when they end before */
  async take(length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      await this.demand();
      const copied = this.rest.copy(bytes, done);
      this.pass(copied);
      done += copied;
    }
    return bytes;
  }

  /** @throws Unreadable when they end before */
  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; ) {
      await this.demand();
      const passed = Math.min(left, this.rest.length);
      this.pass(passed);
      left -= passed;
    }
  }

  /** @returns false when nothing comes behind them */
  async skipZeros(): Promise<boolean> {
    while ((await this.peek(1)).length > 0) {
      let zeros = 0;
      while (zeros < this.rest.length && this.rest[zeros] === 0) zeros++;
      this.pass(zeros);
      if (this.rest.length > 0) return true;
    }
    return false;
  }

  /** Everything from here on. */
  async *remainder(): AsyncGenerator<Buffer> {
    if (this.rest.length > 0) yield this.rest;
    for (;;) {
      const next = await this.iterator.next();
      if (next.done) return;
      yield next.value;
    }
  }

  /** Ends what the bytes come from. */
  async close(): Promise<void> {
    await this.iterator.return?.();
  }

  private async demand(): Promise<void> {
    if ((await this.peek(1)).length === 0) throw new Unreadable('its initial RAM disk is cut off');
  }

  private pass(length: number): void {
    this.rest = this.rest.subarray(length);
    this.at += length;
  }
}
