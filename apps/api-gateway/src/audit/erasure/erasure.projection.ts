import { after, type Instant, ms, type PersonalEvent, type PersonalSubject, subjectKey } from '@omnivisor/contracts';
import { type DueWork, dueTable, type Projection, projection, type Table, table } from '@omnivisor/eventsourcing';
import { KEYS_REMEMBERED } from '@omnivisor/eventsourcing/personal';

export const ERASURE_PROCESS = 'erasure';

/** An erasure that is under way. */
export interface ErasureRow {
  readonly subject: PersonalSubject;
  readonly erasedAt: Instant;
  /** When rows were first made anew, the key being gone; null before. */
  readonly lookedAt: Instant | null;
}

export const erasureTable = table<ErasureRow>('erasures_v2');

/** After the key is gone a replica may for so long fold rows with it still. Who began an erasure goes on with it for no longer. */
const GRACE = ms(KEYS_REMEMBERED + 5_000);

export const erasureProjection: Projection<ErasureRow> = {
  ...projection<PersonalEvent, ErasureRow>(erasureTable, {
    PersonalDataErased: {
      key: ({ data }) => subjectKey(data.subject),
      row: (_, { data, recordedAt }) => ({ subject: data.subject, erasedAt: recordedAt, lookedAt: null }),
    },
    PersonalDataForgotten: {
      key: ({ data }) => subjectKey(data.subject),
      row: (row, { data, recordedAt }) =>
        row && data.partial ? { ...row, lookedAt: row.lookedAt ?? recordedAt } : undefined,
    },
  }),
  derive: (key, row) => {
    const dueAt = row && after(row.lookedAt ?? row.erasedAt, GRACE);
    const work: DueWork | undefined = dueAt && { process: ERASURE_PROCESS, id: key, dueAt };
    return [{ table: dueTable as Table<never>, key: `${ERASURE_PROCESS}/${key}`, row: work }];
  },
};
