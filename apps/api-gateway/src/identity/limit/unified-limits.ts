import {
  conflict,
  forbidden,
  type LimitAttributes,
  notFound,
  type RegisteredLimitAttributes,
  type UnifiedLimitEvent,
  unifiedLimitEvents,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';

/** The one stream of them. */
export const LIMITS = 'cloud';

type Listed<A> = ReadonlyMap<string, A>;
export interface UnifiedLimits {
  readonly registered: Listed<RegisteredLimitAttributes>;
  readonly limits: Listed<LimitAttributes>;
}

type New<A> = { readonly id: string; readonly attributes: A };
export type LimitCommand =
  | { readonly type: 'register'; readonly limits: readonly New<RegisteredLimitAttributes>[] }
  | { readonly type: 'changeRegistered'; readonly id: string; readonly changes: Partial<RegisteredLimitAttributes> }
  | { readonly type: 'unregister'; readonly id: string }
  | { readonly type: 'create'; readonly limits: readonly New<LimitAttributes>[] }
  | {
      readonly type: 'change';
      readonly id: string;
      readonly changes: Partial<Pick<LimitAttributes, 'resourceLimit' | 'description'>>;
    }
  | { readonly type: 'delete'; readonly id: string }
  /** All that is one project's or domain's. */
  | { readonly type: 'deleteOf'; readonly ownerId: string };

type Resource = Pick<RegisteredLimitAttributes, 'serviceId' | 'regionId' | 'resourceName'>;
const isSame = (a: Resource, b: Resource): boolean =>
  a.serviceId === b.serviceId && a.regionId === b.regionId && a.resourceName === b.resourceName;

export const noRegisteredLimit = (id: string) => notFound(`Could not find registered limit for ${id}.`);
export const noLimit = (id: string) => notFound(`Could not find limit for ${id}.`);
const twice = (kind: string) => conflict(`Conflict occurred attempting to store ${kind} - Duplicate entry.`);

const registeredOf = ({ registered }: UnifiedLimits, id: string): RegisteredLimitAttributes => {
  const found = registered.get(id);
  if (!found) throw noRegisteredLimit(id);
  return found;
};

const refuseUsed = ({ limits }: UnifiedLimits, id: string, resource: Resource): void => {
  if ([...limits.values()].some((limit) => isSame(limit, resource)))
    throw forbidden(
      `Unable to update or delete registered limit ${id} because there are project limits associated with it.`,
    );
};

const register = (state: UnifiedLimits, { id, attributes }: New<RegisteredLimitAttributes>): UnifiedLimitEvent => {
  if ([...state.registered.values()].some((r) => isSame(r, attributes))) throw twice('registered_limit');
  return { type: 'RegisteredLimitCreated', data: { id, attributes } };
};

const create = (state: UnifiedLimits, { id, attributes }: New<LimitAttributes>): UnifiedLimitEvent => {
  if (![...state.registered.values()].some((r) => isSame(r, attributes)))
    throw forbidden('Unable to create a limit that has no corresponding registered limit.');
  const { projectId, domainId } = attributes;
  const ofSameOwner = [...state.limits.values()].filter((l) => l.projectId === projectId && l.domainId === domainId);
  if (ofSameOwner.some((l) => isSame(l, attributes))) throw twice('limit');
  return { type: 'LimitCreated', data: { id, attributes } };
};

/** Each of them on what those before it leave: all or none. */
const each = <T>(
  list: readonly T[],
  state: UnifiedLimits,
  decide: (state: UnifiedLimits, one: T) => UnifiedLimitEvent,
): UnifiedLimitEvent[] => {
  const events: UnifiedLimitEvent[] = [];
  let at = state;
  for (const one of list) {
    const event = decide(at, one);
    at = evolve(at, event);
    events.push(event);
  }
  return events;
};

const decide = (command: LimitCommand, state: UnifiedLimits): UnifiedLimitEvent[] => {
  switch (command.type) {
    case 'register':
      return each(command.limits, state, register);
    case 'changeRegistered': {
      const { id, changes } = command;
      const before = registeredOf(state, id);
      const after = { ...before, ...changes };
      if (!isSame(before, after)) {
        refuseUsed(state, id, before);
        if ([...state.registered].some(([other, r]) => other !== id && isSame(r, after)))
          throw twice('registered_limit');
      }
      return Object.keys(changes).length === 0 ? [] : [{ type: 'RegisteredLimitUpdated', data: { id, changes } }];
    }
    case 'unregister': {
      const { id } = command;
      refuseUsed(state, id, registeredOf(state, id));
      return [{ type: 'RegisteredLimitDeleted', data: { id } }];
    }
    case 'create':
      return each(command.limits, state, create);
    case 'change': {
      const { id, changes } = command;
      if (!state.limits.has(id)) throw noLimit(id);
      return Object.keys(changes).length === 0 ? [] : [{ type: 'LimitUpdated', data: { id, changes } }];
    }
    case 'delete': {
      const { id } = command;
      if (!state.limits.has(id)) throw noLimit(id);
      return [{ type: 'LimitDeleted', data: { id } }];
    }
    case 'deleteOf': {
      const theirs = [...state.limits].filter(([, l]) => [l.projectId, l.domainId].includes(command.ownerId));
      return theirs.map(([id]) => ({ type: 'LimitDeleted', data: { id } }));
    }
  }
};

const put = <A>(list: Listed<A>, id: string, changes: Partial<A>): Listed<A> =>
  new Map(list).set(id, { ...list.get(id)!, ...changes });
const without = <A>(list: Listed<A>, id: string): Listed<A> => {
  const rest = new Map(list);
  rest.delete(id);
  return rest;
};

const evolve = (state: UnifiedLimits, event: UnifiedLimitEvent): UnifiedLimits => {
  const { id } = event.data;
  switch (event.type) {
    case 'RegisteredLimitCreated':
      return { ...state, registered: put(state.registered, id, event.data.attributes) };
    case 'RegisteredLimitUpdated':
      return { ...state, registered: put(state.registered, id, event.data.changes as never) };
    case 'RegisteredLimitDeleted':
      return { ...state, registered: without(state.registered, id) };
    case 'LimitCreated':
      return { ...state, limits: put(state.limits, id, event.data.attributes) };
    case 'LimitUpdated':
      return { ...state, limits: put(state.limits, id, event.data.changes as never) };
    case 'LimitDeleted':
      return { ...state, limits: without(state.limits, id) };
  }
};

export const unifiedLimits: Aggregate<UnifiedLimits, LimitCommand, UnifiedLimitEvent> = {
  events: unifiedLimitEvents,
  initial: { registered: new Map(), limits: new Map() },
  decide,
  evolve,
};
