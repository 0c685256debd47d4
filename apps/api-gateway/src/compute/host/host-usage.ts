import type { RowReader } from '@omnivisor/eventsourcing';
import { type ServerRow, serverTable } from '../server/view/server.projection.js';
import { type HostRow, hostTable } from './host.projection.js';

/** What the servers of a host take of it. */
export interface HostUsage {
  readonly servers: readonly ServerRow[];
  readonly vcpus: number;
  /** MiB. */
  readonly memory: number;
  /** GiB. */
  readonly disk: number;
  readonly running: number;
  /** Servers that an action is under way on. */
  readonly busy: number;
}

export const usageOf = async (rows: RowReader, hostId: string): Promise<HostUsage> => {
  const servers = await rows.find(serverTable, { where: { onHost: hostId } });
  const sum = (value: (s: ServerRow) => number) => servers.reduce((n, s) => n + value(s), 0);
  return {
    servers: servers.filter((s) => !s.deleted),
    vcpus: sum((s) => s.flavor.vcpus),
    memory: sum((s) => s.flavor.memory),
    disk: sum((s) => s.flavor.disk + s.flavor.ephemeral),
    running: servers.filter((s) => s.power === 'running').length,
    busy: servers.filter((s) => s.taskState !== null).length,
  };
};

/** Hosts that are part of the cloud, by name. */
export const hostsOf = async (rows: RowReader): Promise<HostRow[]> =>
  (await rows.find(hostTable, { orderBy: [['name', 'asc']] })).filter((h) => !h.retired);

/** Before 2.53 hosts have numbers: one that stays the same for the host's life. */
export const numberOf = (host: { readonly id: string }): number => Number.parseInt(host.id.slice(0, 7), 16) + 1;
