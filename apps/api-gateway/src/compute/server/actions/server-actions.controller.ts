import { Controller } from '@nestjs/common';
import { conflict, DomainError } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../../core/gateway-core.js';
import { parsed, serverOf } from '../../common/access.js';
import { ComputeNetwork } from '../../compute-ports.js';
import { Consoles } from '../../console/consoles.js';
import { requireFeature, requireHost } from '../../host/host-features.js';
import { LiveAnswers } from '../../host/live-answers.js';
import { serverAggregate } from '../lifecycle/server-lifecycle.js';
import { ServerMigrator } from '../move/server-migrator.js';
import { ServerResizer } from '../move/server-resizer.js';
import type { ServerRow } from '../view/server.projection.js';
import { consoleText } from './console-text.js';
import type { Run } from './server-action.js';
import {
  FORCE_DELETE,
  forceDeletePolicy,
  namedAction,
  noSuchAction,
  notBuilt,
  notReady,
  serverActions,
} from './server-actions.js';
import { ServerPasswordChanger } from './server-password-changer.js';
import { ServerRebuilder } from './server-rebuilder.js';
import { ServerRescuer } from './server-rescuer.js';
import { ServerSnapshotter } from './server-snapshotter.js';

const compute = 'compute' as const;
/** What is kept of a console's log: the most that one answer has. */
const CONSOLE_BYTES = 100 * 1024;
const BYTES_PER_LINE = 256;

@Controller()
export class ServerActionsController {
  constructor(
    private readonly core: GatewayCore,
    private readonly network: ComputeNetwork,
    private readonly live: LiveAnswers,
    private readonly consoles: Consoles,
    private readonly rebuilder: ServerRebuilder,
    private readonly rescuer: ServerRescuer,
    private readonly snapshotter: ServerSnapshotter,
    private readonly passwords: ServerPasswordChanger,
    private readonly resizer: ServerResizer,
    private readonly migrator: ServerMigrator,
  ) {}

  @Operation({
    service: compute,
    method: 'POST',
    path: '/v2.1/servers/:id/action',
    policy: 'authenticated',
    body: z.record(z.string(), z.unknown()),
    status: 202,
  })
  async act(call: Call) {
    const body = call.body as Record<string, unknown>;
    const name = namedAction(body);
    if (name === FORCE_DELETE) return this.forceDelete(call);
    const action = Object.hasOwn(serverActions, name) ? serverActions[name] : undefined;
    const [from, to] = action?.versions ?? ['2.1'];
    if (!action || !call.since(from) || (to !== undefined && call.version.minor > Number(to.split('.')[1])))
      throw noSuchAction(name);
    const value = parsed<unknown>(call, action.value, body[name]);
    const rows = await this.core.fresh();
    const row = await serverOf(call, rows, call.params.id!, action.policy);
    if (action.host !== 'none') await requireHost(rows, row, action.host !== 'up');
    if (action.needs) await requireFeature(rows, row, action.needs, action.unsupported);
    return this.run(call, rows, row, action.run, value);
  }

  private async run(call: Call, rows: RowReader, row: ServerRow, run: Run, value: unknown): Promise<unknown> {
    switch (run.kind) {
      case 'unsupported':
        throw notBuilt();
      case 'command':
        await this.core.commands.execute(
          serverAggregate,
          row.id,
          run.command(call, row, value as never),
          call.context(),
        );
        return run.status ? new Reply(undefined, { status: run.status }) : undefined;
      case 'rebuild':
        return this.rebuilder.rebuild(call, row, value as never);
      case 'rescue':
        return this.rescuer.rescue(call, row, value as never);
      case 'createImage':
        return this.snapshotter.createImage(call, row, value as never);
      case 'resize':
        return this.resizer.resize(call, row, value as never);
      case 'migrate':
        return this.migrator.migrate(call, row, value as never);
      case 'migrateLive':
        return this.migrator.migrateLive(call, row, value as never);
      case 'changePassword':
        return this.passwords.change(call, row, value as never);
      case 'crashDump':
        return this.crashDump(call, row);
      case 'securityGroup':
        return this.network.regroup(rows, row, run.change, (value as { name: string }).name, call.context());
      case 'consoleOutput':
        return ok(await this.consoleOutput(row, (value as { length?: number | null }).length ?? null));
      case 'console': {
        const { type } = value as { type: string };
        return ok({ console: { type, url: await this.consoles.open(call, rows, row, run.protocol, type) } });
      }
    }
  }

  /** Accepted once it is asked for; what came of it stands in its instance action. */
  private async crashDump(call: Call, { id: serverId }: ServerRow): Promise<undefined> {
    const { commands } = this.core;
    const ask = { type: 'crashDump', serverId, asAdmin: call.isAdmin } as const;
    const { state } = await commands.execute(serverAggregate, serverId, ask, call.context());
    const answer = await this.live
      .ask(state.placement!.host, { kind: 'crashDump', serverId })
      .catch((error: unknown) => {
        if (error instanceof DomainError && error.kind === 'unavailable') return { ok: false };
        throw error;
      });
    const fault = answer.ok ? null : { code: 500, message: 'The hypervisor did not send the guest an interrupt.' };
    const settle = { type: 'settleCrashDump', serverId, fault } as const;
    await commands.execute(serverAggregate, serverId, settle, call.context('settled'));
    return undefined;
  }

  private async forceDelete(call: Call) {
    const row = await serverOf(call, await this.core.fresh(), call.params.id!, forceDeletePolicy);
    await this.core.commands.execute(
      serverAggregate,
      row.id,
      { type: 'delete', serverId: row.id, asAdmin: call.isAdmin, now: this.core.clock.now() },
      call.context(),
    );
  }

  private async consoleOutput(row: ServerRow, lines: number | null): Promise<{ output: string }> {
    if (!row.onHost || !row.spawned) throw notReady(row.id);
    const maxBytes =
      lines === null || lines < 0 ? CONSOLE_BYTES : Math.min(CONSOLE_BYTES, Math.max(1, lines) * BYTES_PER_LINE);
    const answer = await this.live.ask(row.onHost, { kind: 'consoleLog', serverId: row.id, maxBytes });
    if (answer.unsupported) throw notBuilt();
    if (!answer.ok) throw conflict('Unable to get console');
    return { output: consoleText(answer.body, lines) };
  }
}

const ok = (body: unknown) => new Reply(body, { status: 200 });
