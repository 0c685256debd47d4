import { type NetworkQuotaEvent, networkQuotaEvents, type ProjectId } from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import { Set as ImmutableSet } from 'immutable';
import { overQuota } from '../common/errors.js';

/** Neutron's own defaults; the resources served here. */
export const DEFAULT_LIMITS = {
  network: 100,
  subnet: 100,
  port: 500,
  security_group: 10,
  security_group_rule: 100,
} as const;
export type QuotaResource = keyof typeof DEFAULT_LIMITS;
export const QUOTA_RESOURCES = Object.keys(DEFAULT_LIMITS) as QuotaResource[];

export interface NetworkQuota {
  readonly limits: Readonly<Record<string, number>>;
  readonly taken: Readonly<Record<string, ImmutableSet<string>>>;
}

export type NetworkQuotaCommand =
  | { readonly type: 'setLimits'; readonly projectId: ProjectId; readonly limits: Readonly<Record<string, number>> }
  | { readonly type: 'resetLimits'; readonly projectId: ProjectId }
  | {
      readonly type: 'take';
      readonly projectId: ProjectId;
      readonly resource: QuotaResource;
      readonly ids: readonly string[];
      /** What they are parts of, where they have no streams of their own. */
      readonly parent?: string;
    }
  | {
      readonly type: 'giveBack';
      readonly projectId: ProjectId;
      readonly resource: QuotaResource;
      readonly ids: readonly string[];
    };

export const limitOf = (quota: NetworkQuota, resource: string): number =>
  quota.limits[resource] ?? DEFAULT_LIMITS[resource as QuotaResource] ?? -1;
export const usedOf = (quota: NetworkQuota, resource: string): number => quota.taken[resource]?.size ?? 0;

const decide = (command: NetworkQuotaCommand, quota: NetworkQuota): NetworkQuotaEvent[] => {
  const { projectId } = command;
  switch (command.type) {
    case 'setLimits': {
      const limits = Object.fromEntries(Object.entries(command.limits).filter(([r, n]) => limitOf(quota, r) !== n));
      return Object.keys(limits).length === 0 ? [] : [{ type: 'NetworkQuotaLimitsSet', data: { projectId, limits } }];
    }
    case 'resetLimits':
      return Object.keys(quota.limits).length === 0 ? [] : [{ type: 'NetworkQuotaLimitsReset', data: { projectId } }];
    case 'take': {
      const { resource, parent } = command;
      const ids = command.ids.filter((id) => !quota.taken[resource]?.has(id));
      if (ids.length === 0) return [];
      const limit = limitOf(quota, resource);
      if (limit >= 0 && usedOf(quota, resource) + ids.length > limit) throw overQuota([resource]);
      return [{ type: 'NetworkQuotaTaken', data: { projectId, resource, ids, ...(parent ? { parent } : {}) } }];
    }
    case 'giveBack': {
      const { resource } = command;
      const ids = command.ids.filter((id) => quota.taken[resource]?.has(id));
      return ids.length === 0 ? [] : [{ type: 'NetworkQuotaReturned', data: { projectId, resource, ids } }];
    }
  }
};

const evolve = (quota: NetworkQuota, event: NetworkQuotaEvent): NetworkQuota => {
  switch (event.type) {
    case 'NetworkQuotaLimitsSet':
      return { ...quota, limits: { ...quota.limits, ...event.data.limits } };
    case 'NetworkQuotaLimitsReset':
      return { ...quota, limits: {} };
    case 'NetworkQuotaTaken': {
      const { resource, ids } = event.data;
      return { ...quota, taken: { ...quota.taken, [resource]: (quota.taken[resource] ?? ImmutableSet()).union(ids) } };
    }
    case 'NetworkQuotaReturned': {
      const { resource, ids } = event.data;
      return {
        ...quota,
        taken: { ...quota.taken, [resource]: (quota.taken[resource] ?? ImmutableSet()).subtract(ids) },
      };
    }
  }
};

export const networkQuota: Aggregate<NetworkQuota, NetworkQuotaCommand, NetworkQuotaEvent> = {
  events: networkQuotaEvents,
  initial: { limits: {}, taken: {} },
  kept: {
    version: '1',
    write: ({ limits, taken }) => ({ limits, taken: Object.entries(taken).map(([name, ids]) => [name, [...ids]]) }),
    read: (written) => {
      const { limits, taken } = written as { limits: NetworkQuota['limits']; taken: [string, string[]][] };
      return { limits, taken: Object.fromEntries(taken.map(([name, ids]) => [name, ImmutableSet(ids)])) };
    },
  },
  decide,
  evolve,
};
