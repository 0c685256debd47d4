import { type ConsoleEvent, consoleEvents, type EventData } from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';

export interface AuthorizeConsole {
  readonly type: 'authorize';
  readonly grant: EventData<typeof consoleEvents, 'ConsoleAuthorized'>;
}

/** The rules of `console-<server>` streams. Who may ask is settled before; the grant ends by itself. */
export const consoleAggregate: Aggregate<ReadonlySet<string>, AuthorizeConsole, ConsoleEvent> = {
  events: consoleEvents,
  initial: new Set(),
  decide: ({ grant }, given) => (given.has(grant.fingerprint) ? [] : [{ type: 'ConsoleAuthorized', data: grant }]),
  evolve: (given, event) => new Set(given).add(event.data.fingerprint),
};
