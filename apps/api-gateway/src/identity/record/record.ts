import { conflict, type DomainEvent, type EventSet, notFound } from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';

/** What most resources of identity are: attributes that are created, updated and deleted as a whole. */
export interface RecordState<A> {
  readonly status: 'none' | 'present' | 'deleted';
  readonly attributes: A | undefined;
}

export type RecordCommand<A> =
  | { readonly type: 'create'; readonly id: string; readonly attributes: A }
  /** `extra` is merged, everything else replaced. */
  | { readonly type: 'update'; readonly id: string; readonly changes: Partial<A> }
  | { readonly type: 'delete'; readonly id: string };

export interface RecordNames {
  /** As in `Could not find project: …`. */
  readonly label: string;
  readonly created: string;
  readonly updated: string;
  readonly deleted: string;
}

export const missing = (label: string, id: string) => notFound(`Could not find ${label}: ${id}.`);

export const decideRecord = <A extends object>(
  names: RecordNames,
  command: RecordCommand<A>,
  state: RecordState<A>,
): DomainEvent[] => {
  const { id } = command;
  switch (command.type) {
    case 'create':
      if (state.status === 'present')
        throw conflict(`Conflict occurred attempting to store ${names.label} - Duplicate ID, ${id}..`);
      return [{ type: names.created, data: { id, attributes: command.attributes } }];
    case 'update': {
      if (state.status !== 'present') throw missing(names.label, id);
      const changes = changed(state.attributes as A, command.changes);
      return Object.keys(changes).length === 0 ? [] : [{ type: names.updated, data: { id, changes } }];
    }
    case 'delete':
      return state.status === 'present' ? [{ type: names.deleted, data: { id } }] : [];
  }
};

const changed = <A extends object>(before: A, wanted: Partial<A>): Partial<A> => {
  const changes: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(wanted)) {
    if (value === undefined) continue;
    const old = (before as Record<string, unknown>)[key];
    const next = key === 'extra' ? { ...(old as object), ...(value as object) } : value;
    if (JSON.stringify(old) !== JSON.stringify(next)) changes[key] = next;
  }
  return changes as Partial<A>;
};

export const evolveRecord = <A extends object>(
  names: RecordNames,
  state: RecordState<A>,
  event: DomainEvent,
): RecordState<A> => {
  const data = event.data as { attributes?: A; changes?: Partial<A> };
  switch (event.type) {
    case names.created:
      return { status: 'present', attributes: data.attributes };
    case names.updated:
      return { ...state, attributes: { ...(state.attributes as A), ...data.changes } };
    case names.deleted:
      return { status: 'deleted', attributes: undefined };
    default:
      return state;
  }
};

export const nothing = { status: 'none', attributes: undefined } as const;

export const recordAggregate = <A extends object>(
  events: EventSet,
  names: RecordNames,
): Aggregate<RecordState<A>, RecordCommand<A>, DomainEvent> => ({
  events,
  initial: nothing,
  decide: (command, state) => decideRecord(names, command, state),
  evolve: (state, event) => evolveRecord(names, state, event),
});
