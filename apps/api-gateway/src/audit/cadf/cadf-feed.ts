import type { RecordedEvent } from '@omnivisor/contracts';
import type { DerivedMessage } from '@omnivisor/eventsourcing/relay';
import type { AuditedEvent } from '../index/audit-index.js';
import { cadfEvent } from './cadf-event.js';

export const CADF_SUBJECT = 'cadf';

/** An id as one token of a subject: what has a meaning there is written as its number. */
const token = (id: string): string => id.replace(/[^A-Za-z0-9_-]/g, (c) => `%${c.codePointAt(0)!.toString(16)}`);

/**
 * Messages of an event for auditors on the bus: `cadf.project.<id>` for the matters of a project, without hosts;
 * `cadf.cloud` for the cloud's own.
 */
export const cadfMessages =
  (audited: (event: RecordedEvent) => Promise<AuditedEvent>, observer: string) =>
  async (event: RecordedEvent): Promise<DerivedMessage[]> => {
    const about = await audited(event);
    const subject =
      about.project === null ? `${CADF_SUBJECT}.cloud` : `${CADF_SUBJECT}.project.${token(about.project)}`;
    return [{ subject, id: event.id, body: cadfEvent(about, observer, about.project === null) }];
  };
