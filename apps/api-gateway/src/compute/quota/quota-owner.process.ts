import type { CommandContext, CommandId, EventId, ProjectId, ServerId } from '@omnivisor/contracts';
import type { Process } from '@omnivisor/eventsourcing';
import type { GatewayCore } from '../../core/gateway-core.js';
import { serverAggregate } from '../server/server-lifecycle.js';
import { quotaAggregate } from './quota.js';
import { QUOTA_PROCESS, quotaOwnerTable } from './quota-owner.projection.js';

/**
 * Takes back what was reserved for a server that never came: its id is barred first, so that a late request for it is
 * refused, and only then its amounts are free again.
 */
export class QuotaOwnerProcess implements Process {
  readonly name = QUOTA_PROCESS;

  constructor(private readonly core: GatewayCore) {}

  async step(id: string): Promise<void> {
    const row = await (await this.core.fresh()).get(quotaOwnerTable, id);
    if (!row) return;
    const serverId = row.owner.slice(row.owner.indexOf(':') + 1) as ServerId;
    const context = (step: string): CommandContext => ({
      actor: { kind: 'service', service: 'api-gateway' },
      requestId: row.requestId as CommandContext['requestId'],
      correlationId: row.requestId as CommandContext['correlationId'],
      causationId: row.eventId as EventId,
      commandId: `${QUOTA_PROCESS}:${row.eventId}:${step}` as CommandId,
    });
    const { state } = await this.core.commands.execute(
      serverAggregate,
      serverId,
      { type: 'abandonCreate', serverId },
      context('bar'),
    );
    if (state.id !== null) return;
    await this.core.commands.execute(
      quotaAggregate,
      row.projectId,
      { type: 'release', projectId: row.projectId as ProjectId, owner: row.owner },
      context('release'),
    );
  }
}
