import { type Instant, type SealingEvent, sealingEvents, type VaultRef } from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';

export interface SealingKeys {
  /** Public key of the newest; null before the first. */
  readonly newest: string | null;
}

export interface AddSealingKey {
  readonly key: { readonly publicKey: string; readonly secret: VaultRef };
  /** The newest key as the caller knows it; when another one came between, nothing happens. */
  readonly after: string | null;
}

/** The rules of the stream `sealing-keys`. */
export const sealingKeys: Aggregate<SealingKeys, AddSealingKey, SealingEvent> = {
  events: sealingEvents,
  initial: { newest: null },
  decide: ({ key, after }, { newest }) => (newest === after ? [{ type: 'SealingKeyAdded', data: { ...key } }] : []),
  evolve: (_, { data }) => ({ newest: data.publicKey }),
};

/** Key of the one stream. */
export const SEALING_KEYS = 'keys';

const DAY = 86_400_000;

/** True when a key that was added at `at` should have a successor. */
export const isOld = (at: Instant, now: Instant, days: number): boolean =>
  Date.parse(now) - Date.parse(at) >= days * DAY;
