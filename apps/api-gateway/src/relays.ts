import type { RecordedEvent } from '@omnivisor/contracts';
import type { EventStore } from '@omnivisor/eventsourcing';
import { type DerivedMessage, EventStream, MessageRelay, MessageStream, Relay } from '@omnivisor/eventsourcing/relay';
import { type NatsBus, SystemClock } from '@omnivisor/platform';
import { CADF_SUBJECT, cadfMessages } from './audit/cadf/cadf-feed.js';
import type { GatewayConfig } from './config.js';
import type { GatewayApp } from './gateway-app.js';
import { NOTIFICATION_SUBJECT } from './notifications/notification.js';
import { notificationsOf } from './notifications/notifications.js';

interface Running {
  readonly name: string;
  readonly relay: Pick<Relay, 'start' | 'stop' | 'failure'>;
}

/**
 * What is published of the log to the world outside, as the configuration says.
 * @param log as it stands: personal fields leave closed, but those that Nova's notifications have
 */
export const relaysOf = (
  config: GatewayConfig,
  nats: NatsBus['connection'],
  log: EventStore,
  service: Pick<GatewayApp, 'auditIndex' | 'gateway'>,
  onError: (where: string, error: unknown) => void,
): Running[] => {
  const clock = new SystemClock();
  const bounds = {
    maxAge: config.OMNIVISOR_RELAY_DAYS * 86_400_000,
    maxBytes: config.OMNIVISOR_RELAY_MIB * 1024 * 1024,
  };
  const common = (name: string, store = log) => ({ store, clock, onError: (error: unknown) => onError(name, error) });
  const derived = (
    name: string,
    stream: { name: string; description: string; subject: string },
    messagesOf: (event: RecordedEvent) => Promise<readonly DerivedMessage[]>,
    store = log,
  ): Running => {
    const { subject, ...named } = stream;
    const messages = new MessageStream(nats, { ...named, ...bounds, subjects: [`${subject}.>`] });
    return { name, relay: new MessageRelay({ ...common(name, store), stream: messages, messagesOf }) };
  };
  const relays: Running[] = [];
  if (config.OMNIVISOR_RELAY) {
    const stream = new EventStream(nats, { name: config.OMNIVISOR_RELAY_STREAM, subject: 'events', ...bounds });
    relays.push({ name: 'relay', relay: new Relay({ ...common('relay'), stream }) });
  }
  if (config.OMNIVISOR_CADF) {
    const stream = { name: config.OMNIVISOR_CADF_STREAM, description: 'The event log as CADF.', subject: CADF_SUBJECT };
    const observer = `omnivisor/${config.OMNIVISOR_CLOUD_ID}`;
    const audited = (event: RecordedEvent) => service.auditIndex.audited(event);
    relays.push(derived('CADF feed', stream, cadfMessages(audited, observer)));
  }
  if (config.OMNIVISOR_NOTIFICATIONS) {
    const description = "Nova's versioned notifications.";
    const { store } = service.gateway.core;
    const stream = { name: config.OMNIVISOR_NOTIFICATIONS_STREAM, description, subject: NOTIFICATION_SUBJECT };
    relays.push(derived('notifications', stream, (event) => notificationsOf(store, event), store));
  }
  return relays;
};
