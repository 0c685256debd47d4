import type { RecordedEvent } from '@omnivisor/contracts';
import type { DerivedMessage } from '@omnivisor/eventsourcing/relay';
import { uuidV5 } from '@omnivisor/platform';
import type { NovaObject } from './nova-object.js';

/** One versioned notification of Nova. */
export interface Notification {
  /** Nova's `event_type`, e.g. `instance.create.end`. */
  readonly name: string;
  /** Nova's `publisher_id`: binary and host. */
  readonly publisher: string;
  readonly payload: NovaObject;
  readonly isError?: true;
}

export const NOTIFICATION_SUBJECT = 'versioned_notifications';

/** As oslo.messaging sends it: topic and priority are the subject. */
export const notificationMessage = (
  { name, publisher, payload, isError }: Notification,
  event: RecordedEvent,
): DerivedMessage => {
  const priority = isError ? 'ERROR' : 'INFO';
  const id = uuidV5(event.id, name);
  return {
    subject: `${NOTIFICATION_SUBJECT}.${priority.toLowerCase()}`,
    id,
    body: {
      message_id: id,
      publisher_id: publisher,
      event_type: name,
      priority,
      timestamp: `${event.recordedAt.slice(0, 23).replace('T', ' ')}000`,
      payload,
    },
  };
};
