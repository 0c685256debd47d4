const HEAD_BYTES = 1024 * 1024;
const TAIL_BYTES = 1536;

/** The parts of a stream that format readers look at, however long the stream is: about 1.2 MiB at most. */
export class ByteWindows {
  private readonly headBuffer = Buffer.allocUnsafe(HEAD_BYTES);
  private headLength = 0;
  private tailBuffer: Buffer = Buffer.alloc(0);
  private region: { readonly offset: number; readonly data: Buffer; length: number } | undefined;
  private count = 0;
  private done = false;

  /** Bytes seen so far. */
  get size(): number {
    return this.count;
  }

  /** True once the whole stream was seen. */
  get ended(): boolean {
    return this.done;
  }

  /** True once the head can grow no more. */
  get headComplete(): boolean {
    return this.done || this.headLength === HEAD_BYTES;
  }

  /** The first bytes of the stream, at most 1 MiB. */
  get head(): Buffer {
    return this.headBuffer.subarray(0, this.headLength);
  }

  /** The last bytes of the stream, at most 1536; final once `ended`. */
  get tail(): Buffer {
    return this.tailBuffer;
  }

  /**
   * Asks for one more region, which must lie beyond the head and not have passed yet.
   * @returns false when it is too late
   */
  want(offset: number, length: number): boolean {
    if (this.region || offset < this.count || length > 1024 * 1024) return false;
    this.region = { offset, data: Buffer.alloc(length), length: 0 };
    return true;
  }

  get wanted(): boolean {
    return this.region !== undefined;
  }

  /** What there is of the wanted region. */
  get wantedBytes(): Buffer {
    return this.region ? this.region.data.subarray(0, this.region.length) : Buffer.alloc(0);
  }

  /** Takes the next bytes. Give at most up to the end of the head at once, so that regions can be asked for in time. */
  take(chunk: Buffer): void {
    if (this.headLength < HEAD_BYTES) {
      const part = chunk.subarray(0, HEAD_BYTES - this.headLength);
      part.copy(this.headBuffer, this.headLength);
      this.headLength += part.length;
    }
    if (this.region && this.region.length < this.region.data.length) {
      const next = this.region.offset + this.region.length - this.count;
      if (next >= 0 && next < chunk.length)
        this.region.length += chunk.copy(this.region.data, this.region.length, next);
    }
    this.tailBuffer =
      chunk.length >= TAIL_BYTES
        ? Buffer.from(chunk.subarray(chunk.length - TAIL_BYTES))
        : Buffer.concat([this.tailBuffer, chunk]).subarray(-TAIL_BYTES);
    this.count += chunk.length;
  }

  end(): void {
    this.done = true;
  }
}

export const HEAD = HEAD_BYTES;
