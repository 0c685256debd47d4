import { randomBytes } from 'node:crypto';
import {
  type CommandContext,
  type CommandId,
  DomainError,
  NO_STREAM,
  type PersonalEvent,
  type PersonalSubject,
  personalEvents,
  subjectKey,
  type VaultRef,
} from '@omnivisor/contracts';
import { LRUCache } from 'lru-cache';
import { streamOf } from '../decider.js';
import type { EventStore } from '../event-store.js';
import type { Vault } from '../vault/vault.js';

interface Remembered<T> {
  readonly value: Promise<T>;
  readonly until: number;
}

/** For so long a replica may go on with a key that another one has destroyed, in milliseconds. */
export const KEYS_REMEMBERED = 30_000;
const MAX_REMEMBERED = 10_000;
const KEY_BYTES = 32;

export const personalStream = (subject: PersonalSubject): string => streamOf(personalEvents, subjectKey(subject));

/** Keys of subjects: each in the vault, with the fact that it is there in the log. */
export class PersonalKeys {
  private readonly bySubject = new LRUCache<string, Remembered<VaultRef | null>>({ max: MAX_REMEMBERED });
  private readonly byRef = new LRUCache<string, Remembered<Buffer | null>>({ max: MAX_REMEMBERED });

  constructor(
    private readonly store: EventStore,
    private readonly vault: Vault,
    private readonly now: () => number = Date.now,
  ) {}

  /** The key of a subject, made when there is none; null when its personal data was erased. */
  async of(subject: PersonalSubject, context: CommandContext): Promise<{ ref: string; key: Buffer } | null> {
    const found = await this.remember(this.bySubject, subjectKey(subject), () => this.findOrMake(subject, context));
    const key = found && (await this.key(found.ref));
    return found && key && { ref: found.ref, key };
  }

  /** The key that a reference names; null when it was destroyed. */
  key(ref: string): Promise<Buffer | null> {
    return this.remember(this.byRef, ref, async () => {
      try {
        return await this.vault.get(ref);
      } catch (error) {
        if (error instanceof DomainError && error.kind === 'notFound') return null;
        throw error;
      }
    });
  }

  /** Destroys the keys of a subject. Twice is harmless. */
  async destroy(subject: PersonalSubject): Promise<void> {
    for (const { ref } of keysIn(await this.history(subject))) {
      await this.vault.erase(ref);
      this.byRef.delete(ref);
    }
    this.bySubject.delete(subjectKey(subject));
  }

  /** References of the keys that the subject has or had. */
  async refs(subject: PersonalSubject): Promise<string[]> {
    return keysIn(await this.history(subject)).map(({ ref }) => ref);
  }

  private async history(subject: PersonalSubject): Promise<readonly PersonalEvent[]> {
    return (await this.store.readStream(personalStream(subject))) as readonly unknown[] as readonly PersonalEvent[];
  }

  private async findOrMake(subject: PersonalSubject, context: CommandContext): Promise<VaultRef | null> {
    const events = await this.history(subject);
    if (events.some(({ type }) => type === 'PersonalDataErased')) return null;
    return keysIn(events)[0] ?? this.make(subject, context);
  }

  private async make(subject: PersonalSubject, context: CommandContext): Promise<VaultRef> {
    const key = await this.vault.put('personal-key', randomBytes(KEY_BYTES));
    const event = {
      type: 'PersonalKeyMade',
      schemaVersion: personalEvents.events.PersonalKeyMade.version,
      data: { subject, key },
      // The same for all replicas: who comes second is told of the first one's key.
      context: { ...context, commandId: 'personal-key' as CommandId },
    };
    const { events } = await this.store.append(personalStream(subject), NO_STREAM, [event]);
    const first = keysIn(events as readonly unknown[] as readonly PersonalEvent[])[0]!;
    if (first.ref !== key.ref) await this.vault.erase(key);
    return first;
  }

  private remember<T>(map: LRUCache<string, Remembered<T>>, id: string, find: () => Promise<T>): Promise<T> {
    const now = this.now();
    const known = map.get(id);
    if (known && known.until > now) return known.value;
    const value = find();
    map.set(id, { value, until: now + KEYS_REMEMBERED });
    // What could not be found out is asked again.
    value.catch(() => map.get(id)?.value === value && map.delete(id));
    return value;
  }
}

const keysIn = (events: readonly PersonalEvent[]): VaultRef[] =>
  events.flatMap((event) => (event.type === 'PersonalKeyMade' ? [event.data.key] : []));
