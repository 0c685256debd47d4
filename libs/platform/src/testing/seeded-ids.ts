import { type Ids, uuidV7 } from '../ports/index.js';

/** Ids that repeat with their seed (xorshift32). */
export class SeededIds implements Ids {
  private state: number;
  private count = 0;

  constructor(seed = 1) {
    this.state = seed | 0 || 1;
  }

  private bytes(n: number): Uint8Array {
    return Uint8Array.from({ length: n }, () => {
      this.state ^= this.state << 13;
      this.state ^= this.state >>> 17;
      this.state ^= this.state << 5;
      return this.state & 0xff;
    });
  }

  uuid(): string {
    const hex = this.hex();
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
  }

  ordered(): string {
    return uuidV7(this.count++, this.bytes(10));
  }

  hex(): string {
    return Buffer.from(this.bytes(16)).toString('hex');
  }
}
