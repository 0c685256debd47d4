import type { Instant, KeypairEvent, KeypairType } from '@omnivisor/contracts';
import { projection, table } from '@omnivisor/eventsourcing';

export interface KeypairRow {
  readonly userId: string;
  readonly name: string;
  readonly type: KeypairType;
  readonly publicKey: string;
  readonly fingerprint: string;
  /** Counts up in the order of making: Nova shows a number beside the name. */
  readonly number: number;
  readonly createdAt: Instant;
}

/** Keys are `<user>/<name>`. */
export const keypairTable = table<KeypairRow>('keypairs_v1', ['userId', 'name']);
export const keypairKey = (userId: string, name: string) => `${userId}/${name}`;

export const keypairProjection = projection<KeypairEvent, KeypairRow>(keypairTable, {
  KeypairAdded: {
    key: ({ data }) => keypairKey(data.userId, data.name),
    row: (_, { data, recordedAt, position }) => ({
      userId: data.userId,
      name: data.name,
      type: data.type,
      publicKey: data.publicKey,
      fingerprint: data.fingerprint,
      number: position,
      createdAt: recordedAt,
    }),
  },
  KeypairDeleted: { key: ({ data }) => keypairKey(data.userId, data.name), row: () => undefined },
});
