import { Injectable } from '@nestjs/common';
import { DomainError } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import type { Call } from '@omnivisor/openstack';
import { ComputeNetwork, ComputeSecrets } from '../../compute-ports.js';
import { hostTable } from '../../host/host.projection.js';
import { groupOf } from '../../server-group/leave-group.js';
import { serverGroupTable } from '../../server-group/server-group.projection.js';
import type { ServerRow } from './server.projection.js';
import type { ServerViewContext } from './server.view.js';

/** What is known, and what `find` knows of other ids. */
const withMore = async <V>(
  known: ReadonlyMap<string, V> | undefined,
  ids: readonly string[],
  find: (unknown: readonly string[]) => Promise<ReadonlyMap<string, V>>,
): Promise<ReadonlyMap<string, V>> => {
  const unknown = [...new Set(ids)].filter((id) => !known?.has(id));
  if (known && unknown.length === 0) return known;
  return new Map([...(known ?? []), ...(await find(unknown))]);
};

/** Gathers what views of servers need beside their rows: a few reads for a whole page. */
@Injectable()
export class ServerPresenter {
  constructor(
    private readonly network: ComputeNetwork,
    private readonly secrets: ComputeSecrets,
  ) {}

  /** @param before the context of servers of the same page: what it knows is not asked again */
  async context(
    call: Call,
    rows: RowReader,
    servers: readonly ServerRow[],
    groups: boolean,
    before?: ServerViewContext,
  ): Promise<ServerViewContext> {
    const can = (rule: string) => call.can(`os_compute_api:${rule}`);
    const extendedAttributes = can('os-extended-server-attributes');
    const hostStatus = can('servers:show:host_status')
      ? 'all'
      : can('servers:show:host_status:unknown-only')
        ? 'unknown'
        : 'none';
    const securityGroups = await this.network.groupsOf(rows, servers);
    return {
      publicUrl: call.publicUrl,
      extendedAttributes,
      extraSpecs: can('servers:show:flavor-extra-specs'),
      hostStatus,
      isAdmin: call.isAdmin,
      securityGroups,
      groupNames: await withMore(before?.groupNames, [...securityGroups.values()].flat(), (ids) =>
        this.network.groupNames(rows, ids),
      ),
      hostStates: await withMore(
        before?.hostStates,
        hostStatus === 'none' || !call.since('2.16') ? [] : servers.flatMap((s) => s.hostId ?? []),
        (ids) => this.hostStates(rows, ids),
      ),
      userData: extendedAttributes && call.since('2.3') ? await this.userData(servers) : new Map(),
      serverGroups: groups && call.since('2.71') ? await this.groups(rows, servers) : new Map(),
    };
  }

  private async hostStates(rows: RowReader, ids: readonly string[]) {
    const hosts = await rows.getMany(hostTable, ids);
    return new Map(
      [...hosts].map(([id, host]) => [id, host.enabled ? (host.up ? 'UP' : 'DOWN') : 'MAINTENANCE'] as const),
    );
  }

  private async userData(servers: readonly ServerRow[]): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    await Promise.all(
      servers.map(async (server) => {
        if (!server.userData) return;
        try {
          found.set(server.id, (await this.secrets.open(server.userData)).toString('base64'));
        } catch (error) {
          // It is erased when its server is.
          if (!(error instanceof DomainError && error.kind === 'notFound')) throw error;
        }
      }),
    );
    return found;
  }

  private async groups(rows: RowReader, servers: readonly ServerRow[]): Promise<Map<string, string>> {
    const ids = new Map(
      servers.flatMap((s) => {
        const group = groupOf(s.hints);
        return group === null ? [] : [[s.id as string, group] as const];
      }),
    );
    const known = await rows.getMany(serverGroupTable, [...new Set(ids.values())]);
    return new Map([...ids].filter(([, group]) => known.has(group)));
  }
}
