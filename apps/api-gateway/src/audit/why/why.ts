import { type HostFacts, type Milliseconds, notFound, type RecordedEvent, serverEvents } from '@omnivisor/contracts';
import { streamOf } from '@omnivisor/eventsourcing';
import type { GatewayCore } from '../../core/gateway-core.js';
import type { AuditIndex } from '../index/audit-index.js';
import { type CausalRoot, causalTree } from './causal-tree.js';

/** Events of one story; what is more is left out, the newest first. */
const MAX_EVENTS = 1_000;

export interface Story {
  readonly requests: readonly CausalRoot[];
  /** True when the newest events are left out. */
  readonly more: boolean;
}

/**
 * All that happened to a server, over all services, by what caused what.
 * @throws DomainError `notFound` for a server that never was
 */
export const why = async (
  core: GatewayCore,
  index: AuditIndex,
  serverId: string,
  {
    showHosts,
    project,
    patience,
  }: { readonly showHosts: boolean; readonly project?: string | undefined; readonly patience?: Milliseconds },
): Promise<Story> => {
  if ((await core.store.readStream(streamOf(serverEvents, serverId))).length === 0)
    throw notFound(`no server ${serverId}`);
  const until = await core.head();
  const whose = project === undefined ? {} : { project };
  const found = await index.find(
    { ...whose, resource: serverId, after: 0, until, order: 'oldest first', limit: MAX_EVENTS + 1 },
    patience,
  );
  const events = found.slice(0, MAX_EVENTS).map(({ event }) => event);
  const sessions = await sessionsOf(index, hostsIn(events), until);
  const names = new Map(
    events.flatMap(({ data }) => {
      const { host, hostName } = data as { host?: unknown; hostName?: string };
      return typeof host === 'string' && hostName !== undefined ? [[host, hostName] as const] : [];
    }),
  );
  const requests = causalTree(events, {
    showHosts,
    nameOf: (hostId) => names.get(hostId),
    factsOf: (hostId, event) => sessions.get(hostId)?.findLast((s) => s.position < event.position)?.data.facts,
  });
  return { requests, more: found.length > MAX_EVENTS };
};

type Session = RecordedEvent<string, { readonly facts: HostFacts }>;

const hostsIn = (events: readonly RecordedEvent[]): Set<string> =>
  new Set(
    events.flatMap(({ data }) => {
      // Events of ports name their host by id and name.
      const { host } = data as { host?: string | { readonly id: string } | null };
      return typeof host === 'string' ? host : (host?.id ?? []);
    }),
  );

const sessionsOf = async (index: AuditIndex, hosts: Set<string>, until: number): Promise<Map<string, Session[]>> => {
  const query = { types: ['HostSessionStarted'], after: 0, until, order: 'oldest first', limit: 1_000 } as const;
  const found = await Promise.all(
    [...hosts].map(async (resource) => [resource, await index.find({ ...query, resource })] as const),
  );
  return new Map(found.map(([host, audited]) => [host, audited.map((a) => a.event as Session)]));
};
