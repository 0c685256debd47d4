import {
  type CommandContext,
  conflict,
  invalid,
  type NetworkNeed,
  notFound,
  type PortId,
  type RequestedNetwork,
  type SecurityGroupId,
  type ServerId,
  type ServerPort,
} from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import type { GatewayCore } from '../core/gateway-core.js';
import { step } from '../network/common/context.js';
import { needsOf } from '../network/port/network-needs.js';
import { type GroupChange, port, regrouped } from '../network/port/port.js';
import { portTable } from '../network/port/port.projection.js';
import { ensureDefaultGroup } from '../network/security-group/default-group.js';
import { type SecurityGroupRow, securityGroupTable } from '../network/security-group/security-group.projection.js';
import type { ServerPorts } from '../network/server-ports.js';
import { type AttachRequest, ComputeNetwork, type PluggedServer } from './compute-ports.js';
import { hostTable } from './host/host.projection.js';

/** The Compute API's view of our own network part. */
export class ServerNetwork extends ComputeNetwork {
  constructor(
    private readonly core: GatewayCore,
    private readonly ports: ServerPorts,
  ) {
    super();
  }

  async securityGroups(
    rows: RowReader,
    projectId: string,
    refs: readonly string[],
    context: CommandContext,
  ): Promise<SecurityGroupId[]> {
    // A project's first server comes before its default group.
    const id = refs.includes('default') ? await ensureDefaultGroup(this.core, projectId, context) : null;
    if (refs.length === 1 && id !== null) return [id];
    return this.ports.resolveSecurityGroups(id === null ? rows : await this.core.fresh(), projectId, refs);
  }

  async groupNames(rows: RowReader, ids: readonly string[]): Promise<Map<string, string>> {
    return new Map([...(await rows.getMany(securityGroupTable, ids))].map(([id, group]) => [id, group.name]));
  }

  async groupDetails(rows: RowReader, ids: readonly string[]): Promise<Record<string, unknown>[]> {
    const groups = await rows.getMany(securityGroupTable, ids);
    const remotes = await this.groupNames(
      rows,
      [...groups.values()].flatMap((g) => [...g.remoteGroups]),
    );
    return [...groups.values()].map((group) => groupView(group, remotes));
  }

  resolve(
    rows: RowReader,
    projectId: string,
    isAdmin: boolean,
    requested: 'auto' | readonly RequestedNetwork[],
  ): Promise<RequestedNetwork[]> {
    return this.ports.resolve(rows, projectId, isAdmin, requested);
  }

  haveNoMetadata(rows: RowReader, requested: readonly RequestedNetwork[]): Promise<boolean> {
    return this.ports.haveNoMetadata(rows, requested);
  }

  async attach(rows: RowReader, { host, ...request }: AttachRequest, context: CommandContext): Promise<ServerPort> {
    const networkId = request.requested.networkId ?? '';
    const { projectId, requested } = request;
    const needs = await this.ports.needs(rows, { projectId, securityGroups: [], ports: [requested] });
    await this.checkHost(rows, host.id, needs);
    const machineOf = async (id: string) => (await rows.get(hostTable, id))?.facts?.machineId;
    const machine = await machineOf(host.id);
    for (const other of await this.ports.hostsOf(rows, [networkId]))
      if ((await machineOf(other)) !== machine)
        throw invalid(`Network ${networkId} does not reach the host of instance ${request.serverId}.`);
    return this.ports.attach({ ...request, host, securityGroups: [] }, request.requested, context);
  }

  release(serverId: string, portId: PortId, context: CommandContext): Promise<void> {
    return this.ports.releaseOne(serverId, portId, context);
  }

  async groupsOf(rows: RowReader, servers: readonly PluggedServer[]): Promise<Map<string, SecurityGroupId[]>> {
    const idsOf = ({ ports }: PluggedServer) => (ports ?? []).map(({ portId }) => portId);
    const found = await rows.getMany(portTable, servers.flatMap(idsOf));
    const groupsOf = (server: PluggedServer) =>
      idsOf(server).flatMap((id) => {
        const row = found.get(id);
        return row?.serverId === server.id ? row.attributes.securityGroups : [];
      });
    return new Map(servers.map((server) => [server.id, [...new Set(groupsOf(server))]]));
  }

  async regroup(
    rows: RowReader,
    { id, projectId }: { readonly id: string; readonly projectId: string },
    change: GroupChange,
    name: string,
    context: CommandContext,
  ): Promise<void> {
    const serverId = id as ServerId;
    const groups = await this.securityGroups(rows, projectId, [name], step(context, 'default-group'));
    const securityGroupId = groups[0]!;
    const ports = await rows.find(portTable, { where: { serverId } });
    if (ports.length === 0) throw notFound(`instance_id ${serverId} could not be found as device id on any ports`);
    const changes = ports
      .map((row) => ({ row, securityGroups: regrouped(row.attributes, change, securityGroupId) }))
      .filter(({ row, securityGroups }) => securityGroups.length !== row.securityGroups.length);
    if (change === 'remove' && changes.length === 0)
      throw notFound(`Security group ${name} not associated with the instance ${serverId}`);
    for (const { row, securityGroups } of changes)
      if (row.host) await this.checkHost(rows, row.host.id, await needsOf(rows, [{ portId: row.id, securityGroups }]));
    for (const { row } of changes)
      await this.core.commands.execute(
        port,
        row.id,
        { type: 'regroup', portId: row.id, serverId, change, securityGroupId },
        step(context, `${row.id} groups`),
      );
  }

  /** @throws DomainError `conflict` when the host cannot do what a port asks of it: it would be open, or cut off */
  private async checkHost(rows: RowReader, hostId: string, needs: readonly NetworkNeed[]): Promise<void> {
    const facts = (await rows.get(hostTable, hostId))?.facts;
    if (!facts?.physicalNetworks) return;
    const missing = needs.find(({ trait }) => !facts.traits.includes(trait));
    if (missing)
      throw conflict(`The host of the instance does not offer what ${missing.constraint} asks for: ${missing.wanted}.`);
  }

  async portStates(rows: RowReader, ports: readonly ServerPort[]): Promise<Map<string, string>> {
    const found = await rows.getMany(
      portTable,
      ports.map((p) => p.portId),
    );
    return new Map([...found].map(([id, row]) => [id, row.host ? 'ACTIVE' : 'DOWN']));
  }
}

const portsOf = ({ protocol, portMin, portMax }: SecurityGroupRow['rules'][number]) => {
  if (protocol === null || portMin !== null || portMax !== null) return { from_port: portMin, to_port: portMax };
  return /^(?:tcp|udp)$/.test(protocol) ? { from_port: 1, to_port: 65_535 } : { from_port: -1, to_port: -1 };
};

/** Nova's old form of a group: only ingress rules, protocol and addresses in its own words. */
const groupView = (group: SecurityGroupRow, remotes: ReadonlyMap<string, string>) => ({
  id: group.id,
  name: group.name,
  description: group.description,
  tenant_id: group.projectId,
  rules: group.rules
    .filter((rule) => rule.direction === 'ingress')
    .map((rule) => ({
      id: rule.id,
      parent_group_id: group.id,
      ip_protocol: rule.protocol,
      ...portsOf(rule),
      ip_range: rule.remoteGroup === null ? { cidr: rule.remotePrefix ?? '0.0.0.0/0' } : {},
      group: rule.remoteGroup === null ? {} : { name: remotes.get(rule.remoteGroup) ?? '', tenant_id: group.projectId },
    })),
});
