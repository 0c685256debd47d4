import { randomUUID } from 'node:crypto';
import type { VaultRef } from '@omnivisor/contracts';
import { bytesOf, fingerprintOf, noSuchSecret, refOf, type Vault } from './vault.js';

/** A vault in memory, for specs and simulation. */
export class MemoryVault implements Vault {
  private readonly secrets = new Map<string, Buffer>();

  constructor(private readonly ids: { uuid(): string } = { uuid: randomUUID }) {}

  async put(_kind: string, secret: string | Uint8Array): Promise<VaultRef> {
    const ref = this.ids.uuid();
    const bytes = bytesOf(secret);
    this.secrets.set(ref, bytes);
    return { ref, fingerprint: fingerprintOf(bytes) };
  }

  async get(ref: VaultRef | string): Promise<Buffer> {
    const secret = this.secrets.get(refOf(ref));
    if (!secret) throw noSuchSecret();
    return Buffer.from(secret);
  }

  async erase(ref: VaultRef | string): Promise<void> {
    this.secrets.delete(refOf(ref));
  }
}
