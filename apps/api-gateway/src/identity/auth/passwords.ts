import { hash, verify } from '@node-rs/argon2';
import { DomainError, forbidden, type VaultRef } from '@omnivisor/contracts';
import type { Vault } from '@omnivisor/eventsourcing/vault';

/** OWASP's minimum for argon2id. */
const OPTIONS = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };
const MAX_PASSWORD_BYTES = 4_096;
const CONCURRENT = 2;
const MAX_WAITING = 200;

/** Hashes and compares passwords; hashes live in the vault only. At most two at a time, so that logins starve nobody. */
export class Passwords {
  private running = 0;
  private readonly waiting: (() => void)[] = [];
  private decoy: Promise<string> | undefined;

  constructor(private readonly secrets: Vault) {}

  /** @throws DomainError `forbidden` for a password that is too long */
  async store(password: string): Promise<VaultRef> {
    if (Buffer.byteLength(password) > MAX_PASSWORD_BYTES)
      throw forbidden(
        `The password length must be less than or equal to ${MAX_PASSWORD_BYTES}. The server could not comply with the request because the password is invalid.`,
      );
    const text = await this.slot(() => hash(password, OPTIONS));
    return this.secrets.put('password', text);
  }

  /** Takes as long for a user that does not exist (`stored` null) as for one that does. */
  async matches(stored: VaultRef | null, password: string): Promise<boolean> {
    if (Buffer.byteLength(password) > MAX_PASSWORD_BYTES) return false;
    this.decoy ??= this.slot(() => hash('nobody has this password', OPTIONS));
    const expected = stored ? Buffer.from(await this.secrets.get(stored.ref)).toString() : await this.decoy;
    const equal = await this.slot(() => verify(expected, password));
    return equal && stored !== null;
  }

  private async slot<T>(work: () => Promise<T>): Promise<T> {
    if (this.running >= CONCURRENT) {
      if (this.waiting.length >= MAX_WAITING)
        throw new DomainError('unavailable', 'Too many logins at once. Please try again.');
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    } else this.running++;
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.running--;
    }
  }
}
