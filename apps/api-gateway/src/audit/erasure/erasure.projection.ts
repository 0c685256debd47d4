import { after, type Instant, ms, type PersonalEvent, type PersonalSubject, subjectKey } from '@omnivisor/contracts';
import { type DueWork, dueTable, type Projection, projection, type Table, table } from '@omnivisor/eventsourcing';
import { KEYS_REMEMBERED } from '@omnivisor/eventsourcing/personal';

export const ERASURE_PROCESS = 'erasure';

/** An erasure that is under way. */
export interface ErasureRow {
  readonly subject: PersonalSubject;
  readonly erasedAt: Instant;
}

export const erasureTable = table<ErasureRow>('erasures_v1');

/** Until then a replica may still fold rows with a key that it remembers. */
const GRACE = ms(KEYS_REMEMBERED + 5_000);

export const erasureProjection: Projection<ErasureRow> = {
  ...projection<PersonalEvent, ErasureRow>(erasureTable, {
    PersonalDataErased: {
      key: ({ data }) => subjectKey(data.subject),
      row: (_, { data, recordedAt }) => ({ subject: data.subject, erasedAt: recordedAt }),
    },
    PersonalDataForgotten: {
      key: ({ data }) => subjectKey(data.subject),
      row: (row, { data }) => (data.partial ? row : undefined),
    },
  }),
  derive: (key, row) => {
    const work: DueWork | undefined = row && { process: ERASURE_PROCESS, id: key, dueAt: after(row.erasedAt, GRACE) };
    return [{ table: dueTable as Table<never>, key: `${ERASURE_PROCESS}/${key}`, row: work }];
  },
};
