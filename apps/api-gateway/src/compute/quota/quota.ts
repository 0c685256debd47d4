import { DomainError, type ProjectId, type QuotaAmounts, type QuotaEvent, quotaEvents } from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import { Map as ImmutableMap } from 'immutable';

export interface Reservation {
  /** What holds it, e.g. `server:<id>`. */
  readonly owner: string;
  readonly amounts: QuotaAmounts;
}

export type QuotaCommand =
  | { readonly type: 'setLimits'; readonly projectId: ProjectId; readonly limits: QuotaAmounts }
  | { readonly type: 'resetLimits'; readonly projectId: ProjectId }
  /** Takes as many of the reservations, in order, as fit; refused when fewer than `atLeast` do. */
  | {
      readonly type: 'reserve';
      readonly projectId: ProjectId;
      readonly reservations: readonly Reservation[];
      readonly atLeast: number;
      /** Metadata items of each owner: limited, but not taken from anything. */
      readonly metadataItems?: number;
      readonly defaults: QuotaAmounts;
    }
  /**
   * Other amounts for an owner that has some, unless those it has are of a newer generation of it. Without `defaults` no
   * limit is asked: what is there is there.
   */
  | {
      readonly type: 'amend';
      readonly projectId: ProjectId;
      readonly owner: string;
      readonly amounts: QuotaAmounts;
      readonly generation: number;
      readonly defaults?: QuotaAmounts;
    }
  | { readonly type: 'release'; readonly projectId: ProjectId; readonly owner: string };

/** A project's limits and what is taken of them. */
export interface Quota {
  readonly limits: QuotaAmounts;
  readonly used: QuotaAmounts;
  readonly owners: ImmutableMap<string, Held>;
}

interface Held {
  readonly amounts: QuotaAmounts;
  /** Of the owner, when it took them. */
  readonly generation?: number | undefined;
}

export const reservedBy = (quota: Quota, owner: string): QuotaAmounts | undefined => quota.owners.get(owner)?.amounts;

/** The limit of a resource; -1 when there is none. */
export const limitOf = (quota: Quota, defaults: QuotaAmounts, resource: string): number =>
  quota.limits[resource] ?? defaults[resource] ?? -1;

const add = (used: QuotaAmounts, amounts: QuotaAmounts, sign: 1 | -1): QuotaAmounts => {
  const sum = { ...used };
  for (const [resource, amount] of Object.entries(amounts)) sum[resource] = (sum[resource] ?? 0) + sign * amount;
  return sum;
};

/** Resources that a sum would take over their limit, sorted. */
const over = (quota: Quota, defaults: QuotaAmounts, used: QuotaAmounts, asked: QuotaAmounts): string[] =>
  Object.keys(asked)
    .filter((r) => {
      const limit = limitOf(quota, defaults, r);
      return limit >= 0 && (asked[r] ?? 0) > 0 && (used[r] ?? 0) > limit;
    })
    .sort();

const reserve = (command: Extract<QuotaCommand, { type: 'reserve' }>, quota: Quota): QuotaEvent[] => {
  const { projectId, reservations, defaults, metadataItems = 0 } = command;
  const most = limitOf(quota, defaults, 'metadata_items');
  if (most >= 0 && metadataItems > most)
    throw new DomainError('overQuota', `Maximum number of metadata items exceeds ${most}`);
  const events: QuotaEvent[] = [];
  let used = quota.used;
  let had = 0;
  for (const { owner, amounts } of reservations) {
    if (reservedBy(quota, owner)) {
      had++;
      continue;
    }
    const sum = add(used, amounts, 1);
    if (over(quota, defaults, sum, amounts).length > 0) break;
    used = sum;
    events.push({ type: 'QuotaReserved', data: { projectId, owner, amounts } });
  }
  if (had + events.length >= command.atLeast) return events;
  const asked = reservations.slice(0, command.atLeast).reduce<QuotaAmounts>((sum, r) => add(sum, r.amounts, 1), {});
  throw exceeded(quota, defaults, asked);
};

const exceeded = (quota: Quota, defaults: QuotaAmounts, asked: QuotaAmounts): DomainError => {
  const overs = over(quota, defaults, add(quota.used, asked, 1), asked);
  const list = (value: (resource: string) => number) => overs.map(value).join(', ');
  const names = overs.join(', ');
  return new DomainError(
    'overQuota',
    `Quota exceeded for ${names}: Requested ${list((r) => asked[r] ?? 0)}, but already used ${list((r) => quota.used[r] ?? 0)} of ${list((r) => limitOf(quota, defaults, r))} ${names}`,
    { details: { resources: overs } },
  );
};

const amend = (
  { projectId, owner, amounts, generation, defaults }: Extract<QuotaCommand, { type: 'amend' }>,
  quota: Quota,
): QuotaEvent[] => {
  const had = quota.owners.get(owner);
  if (!had) return [];
  // What is taken late of a resize that is settled already would stay.
  const isLate = defaults ? generation <= (had.generation ?? -1) : generation < (had.generation ?? 0);
  if (isLate) return [];
  const more = add(amounts, had.amounts, -1);
  if (Object.values(more).every((amount) => amount === 0)) return [];
  const asked = Object.fromEntries(Object.entries(more).filter(([, amount]) => amount > 0));
  if (defaults && over(quota, defaults, add(quota.used, asked, 1), asked).length > 0)
    throw exceeded(quota, defaults, asked);
  return [{ type: 'QuotaAmended', data: { projectId, owner, amounts, generation } }];
};

const noQuota: Quota = { limits: {}, used: {}, owners: ImmutableMap() };

/** The rules of `quota-<project>` streams. */
export const quotaAggregate: Aggregate<Quota, QuotaCommand, QuotaEvent> = {
  events: quotaEvents,
  initial: noQuota,
  kept: {
    version: '2',
    write: ({ owners, ...rest }) => ({ ...rest, owners: [...owners] }),
    read: (written) => {
      const { owners, ...rest } = written as Quota & { owners: Iterable<[string, Held]> };
      return { ...rest, owners: ImmutableMap(owners) };
    },
  },
  decide(command, quota) {
    const { projectId } = command;
    switch (command.type) {
      case 'setLimits': {
        const changed = Object.entries(command.limits).filter(([r, limit]) => quota.limits[r] !== limit);
        return changed.length === 0
          ? []
          : [{ type: 'QuotaLimitsSet', data: { projectId, limits: Object.fromEntries(changed) } }];
      }
      case 'resetLimits':
        return Object.keys(quota.limits).length === 0 ? [] : [{ type: 'QuotaLimitsReset', data: { projectId } }];
      case 'reserve':
        return reserve(command, quota);
      case 'amend':
        return amend(command, quota);
      case 'release':
        return reservedBy(quota, command.owner)
          ? [{ type: 'QuotaReleased', data: { projectId, owner: command.owner } }]
          : [];
    }
  },
  evolve(quota, event) {
    switch (event.type) {
      case 'QuotaLimitsSet':
        return { ...quota, limits: { ...quota.limits, ...event.data.limits } };
      case 'QuotaLimitsReset':
        return { ...quota, limits: {} };
      case 'QuotaReserved': {
        const { owner, amounts } = event.data;
        return { ...quota, used: add(quota.used, amounts, 1), owners: quota.owners.set(owner, { amounts }) };
      }
      case 'QuotaAmended': {
        const { owner, projectId: _, ...held } = event.data;
        const used = add(quota.used, reservedBy(quota, owner) ?? {}, -1);
        return { ...quota, used: add(used, held.amounts, 1), owners: quota.owners.set(owner, held) };
      }
      case 'QuotaReleased': {
        const { owner } = event.data;
        const amounts = reservedBy(quota, owner);
        if (!amounts) return quota;
        return { ...quota, used: add(quota.used, amounts, -1), owners: quota.owners.delete(owner) };
      }
    }
  },
};
