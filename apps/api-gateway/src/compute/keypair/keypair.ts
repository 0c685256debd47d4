import {
  conflict,
  DomainError,
  type EventData,
  type KeypairEvent,
  keypairEvents,
  notFound,
  type UserId,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';

type Added = EventData<typeof keypairEvents, 'KeypairAdded'>;

export type KeypairCommand =
  /** `limit`: how many a user may have; -1 is no limit. */
  | { readonly type: 'add'; readonly keypair: Added; readonly limit: number }
  | { readonly type: 'delete'; readonly userId: UserId; readonly name: string };

type Names = ReadonlySet<string>;

export const keypairNotFound = (name: string, userId: string) =>
  notFound(`Keypair ${name} not found for user ${userId}`);

/** The rules of `keypair-<user>` streams. */
export const keypairAggregate: Aggregate<Names, KeypairCommand, KeypairEvent> = {
  events: keypairEvents,
  initial: new Set(),
  decide(command, names) {
    if (command.type === 'delete') {
      if (!names.has(command.name)) throw keypairNotFound(command.name, command.userId);
      return [{ type: 'KeypairDeleted', data: { userId: command.userId, name: command.name } }];
    }
    if (command.limit >= 0 && names.size >= command.limit)
      throw new DomainError('overQuota', 'Quota exceeded, too many key pairs.');
    if (names.has(command.keypair.name)) throw conflict(`Key pair '${command.keypair.name}' already exists.`);
    return [{ type: 'KeypairAdded', data: command.keypair }];
  },
  evolve(names, event) {
    const next = new Set(names);
    if (event.type === 'KeypairAdded') next.add(event.data.name);
    else next.delete(event.data.name);
    return next;
  },
};
