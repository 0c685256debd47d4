import { eventSetOf, type RecordedEvent } from '@omnivisor/contracts';
import type { EventStore, Projection } from '@omnivisor/eventsourcing';
import type { DerivedMessage } from '@omnivisor/eventsourcing/relay';
import { flavorProjection } from '../compute/flavor/flavor.projection.js';
import { hostProjection } from '../compute/host/host.projection.js';
import { keypairProjection } from '../compute/keypair/keypair.projection.js';
import { serverProjection } from '../compute/server/view/server.projection.js';
import { serverGroupProjection } from '../compute/server-group/server-group.projection.js';
import { type Notification, notificationMessage } from './notification.js';
import {
  flavorNotification,
  hostNotification,
  keypairNotifications,
  serverGroupNotification,
} from './other-notifications.js';
import { serverNotification } from './server-notifications.js';

type Told = Notification | readonly Notification[] | null;
/** How events of one kind of stream are told: a row of theirs before and after, and what Nova says of it. */
interface Teller {
  readonly projection: Projection;
  tell(event: RecordedEvent, before: object | undefined, after: object | undefined): Told;
}

const teller = <E, Row extends object>(
  projection: Projection<Row>,
  tell: (event: RecordedEvent & E, before: Row | undefined, row: Row) => Told,
): Teller => ({
  projection: projection as unknown as Projection,
  // What is gone is told as it was.
  tell: (event, before, after) => {
    const row = after ?? before;
    return row === undefined ? null : tell(event as RecordedEvent & E, before as Row | undefined, row as Row);
  },
});

const tellers: Readonly<Record<string, Teller>> = {
  server: teller(serverProjection, serverNotification),
  flavor: teller(flavorProjection, (event: Parameters<typeof flavorNotification>[0], _, row) =>
    flavorNotification(event, row),
  ),
  keypair: teller(keypairProjection, (event: Parameters<typeof keypairNotifications>[0], _, row) =>
    keypairNotifications(event, row),
  ),
  servergroup: teller(serverGroupProjection, (event: Parameters<typeof serverGroupNotification>[0], _, row) =>
    serverGroupNotification(event, row),
  ),
  host: teller(hostProjection, (event: Parameters<typeof hostNotification>[0], _, row) => hostNotification(event, row)),
};

/** Nova's versioned notifications of an event: none, one or two. They follow from the log, so that they can be made again. */
export const notificationsOf = async (
  store: Pick<EventStore, 'readStream'>,
  event: RecordedEvent,
): Promise<DerivedMessage[]> => {
  const found = tellers[eventSetOf(event.type)?.stream ?? ''];
  const key = found?.projection.keys(event)[0];
  if (!found || key === undefined) return [];
  let before: object | undefined;
  let after: object | undefined;
  for (const e of await store.readStream(event.stream)) {
    if (e.revision > event.revision) break;
    if (!found.projection.keys(e).includes(key)) continue;
    before = after;
    after = found.projection.evolve(after, e, key);
  }
  const told = found.tell(event, before, after);
  return (told === null ? [] : [told].flat()).map((n) => notificationMessage(n as Notification, event));
};
