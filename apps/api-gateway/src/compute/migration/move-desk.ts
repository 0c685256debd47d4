import { argumentsOf, type MigrationId, notFound } from '@omnivisor/contracts';
import { z } from 'zod';
import { AdminCommands, operatorContexts } from '../../audit/admin-commands.js';
import type { GatewayCore } from '../../core/gateway-core.js';
import { requireHost } from '../host/host-features.js';
import { serverAggregate } from '../server/lifecycle/server-lifecycle.js';
import { coldNeeds, refuseUnfit } from '../server/move/move-needs.js';
import { guardMigration } from '../server/move/server-migration.js';
import { sourceOf, targetNamed } from '../server/move/server-migrator.js';
import { serverTable } from '../server/view/server.projection.js';

const OfServer = z.object({ server: z.string().min(1) });
const Move = OfServer.extend({ host: z.string().min(1) });

/**
 * Answers the command line's `move`: `admin.api-gateway.server-<command>`. A move is a cold migration to a host that the
 * operator names, of whatever hypervisor; what must not go there by its flavor or image is refused as in the API.
 */
export class MoveDesk {
  private readonly commands: AdminCommands;

  constructor(private readonly core: GatewayCore) {
    this.commands = new AdminCommands(core.bus);
  }

  async start(): Promise<void> {
    await this.commands.serve('server-move', (args) => this.move(argumentsOf(Move, args)));
    await this.commands.serve('server-where', (args) => this.where(argumentsOf(OfServer, args).server));
    await this.commands.serve('server-move-confirm', async (args) => {
      const { id: serverId } = await this.server(argumentsOf(OfServer, args).server);
      const command = { type: 'confirmResize', serverId, asAdmin: true } as const;
      await this.core.commands.execute(serverAggregate, serverId, command, operatorContexts(this.core.ids)());
      return this.where(serverId);
    });
  }

  stop(): Promise<void> {
    return this.commands.stop();
  }

  private async server(id: string) {
    const row = await (await this.core.fresh()).get(serverTable, id);
    if (!row || row.deleted) throw notFound(`Instance ${id} could not be found.`);
    return row;
  }

  private async move({ server, host }: z.output<typeof Move>) {
    const row = await this.server(server);
    guardMigration(row, row.id, true, 'migrate');
    const here = `Server ${server} is on ${host} already.`;
    const rows = await this.core.fresh();
    await requireHost(rows, row, false);
    const { name, facts } = await targetNamed(rows, row, host, here);
    const source = await sourceOf(rows, row);
    if (facts && source) refuseUnfit(facts, coldNeeds(source, true));
    const migrationId = this.core.ids.uuid() as MigrationId;
    const wanted = { serverId: row.id, migrationId, requestedHost: name, asAdmin: true };
    const context = operatorContexts(this.core.ids)();
    await this.core.commands.execute(serverAggregate, row.id, { type: 'migrate', ...wanted }, context);
    return { ...(await this.where(row.id)), migration: migrationId };
  }

  /** Where a server is, and what goes on with it. */
  private async where(id: string) {
    const { host, vmState, taskState, migration, fault } = await this.server(id);
    return { server: id, host, vm_state: vmState, task_state: taskState, migration_status: migration?.status, fault };
  }
}
