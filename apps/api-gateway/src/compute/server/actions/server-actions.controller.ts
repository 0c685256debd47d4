import { createHash, randomUUID } from 'node:crypto';
import { Controller, Injectable } from '@nestjs/common';
import {
  after,
  conflict,
  DomainError,
  invalid,
  notFound,
  type ProjectId,
  type SecurityGroupId,
  seconds,
  type UserId,
} from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../../core/gateway-core.js';
import { parsed, serverOf } from '../../common/access.js';
import { ComputeNetwork } from '../../compute-ports.js';
import { consoleAggregate } from '../../console/console.js';
import { consoleGrantTable, consoleRevocationTable } from '../../console/console.projection.js';
import { consoleUrl } from '../../console/console-url.js';
import { hostTable } from '../../host/host.projection.js';
import { requireFeature } from '../../host/host-features.js';
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
import { ServerRebuilder } from './server-rebuilder.js';
import { ServerRescuer } from './server-rescuer.js';
import { ServerSnapshotter } from './server-snapshotter.js';

const compute = 'compute' as const;
/** How long a console's token opens it. */
const CONSOLE_LIFETIME = seconds(600);
/** What is kept of a console's log: the most that one answer has. */
const CONSOLE_BYTES = 100 * 1024;
const BYTES_PER_LINE = 256;

const consoleTypes = {
  vnc: ['novnc'],
  spice: ['spice-html5'],
  serial: ['serial'],
  mks: ['webmks'],
  rdp: ['rdp-html5'],
} as const;
const remoteConsole = (protocols: readonly string[], types: readonly string[]) =>
  z.strictObject({
    remote_console: z.strictObject({
      protocol: z.enum(protocols as [string, ...string[]]),
      type: z.enum(types as [string, ...string[]]),
    }),
  });
const early = {
  protocols: ['vnc', 'spice', 'rdp', 'serial'],
  types: ['novnc', 'xvpvnc', 'rdp-html5', 'spice-html5', 'serial'],
};

@Controller()
export class ServerActionsController {
  constructor(
    private readonly core: GatewayCore,
    private readonly network: ComputeNetwork,
    private readonly live: LiveAnswers,
    private readonly rebuilder: ServerRebuilder,
    private readonly rescuer: ServerRescuer,
    private readonly snapshotter: ServerSnapshotter,
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
    if (action.needs) await requireFeature(rows, row, action.needs);
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
      case 'crashDump':
        return this.crashDump(call, row);
      case 'securityGroup':
        return this.changeGroups(call, rows, row, run.change, (value as { name: string }).name);
      case 'consoleOutput':
        return ok(await this.consoleOutput(row, (value as { length?: number | null }).length ?? null));
      case 'console': {
        const { type } = value as { type: string };
        return ok({ console: { type, url: await this.openConsole(call, row, run.protocol, type) } });
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

  private async changeGroups(call: Call, rows: RowReader, row: ServerRow, change: 'add' | 'remove', name: string) {
    const [id] = await this.network.securityGroups(rows, row.projectId, [name], call.context('default-group'));
    if (id === undefined) throw notFound(`Security group ${name} not found.`);
    const has = row.securityGroups.includes(id);
    if (change === 'remove' && !has) {
      const known = (await this.network.groupNames(rows, [id])).get(id) ?? name;
      throw notFound(`Security group ${known} is not associated with the instance ${row.id}`);
    }
    const securityGroups: SecurityGroupId[] =
      change === 'add' ? [...new Set([...row.securityGroups, id])] : row.securityGroups.filter((g) => g !== id);
    await this.core.commands.execute(
      serverAggregate,
      row.id,
      { type: 'setSecurityGroups', serverId: row.id, securityGroups },
      call.context('groups'),
    );
    await this.network.regroup(row.id, securityGroups, call.context('ports'));
    return undefined;
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

  @Operation({
    service: compute,
    method: 'POST',
    path: '/v2.1/servers/:id/remote-consoles',
    versions: ['2.6'],
    policy: 'os_compute_api:os-remote-consoles',
    body: [
      ['2.6', remoteConsole(early.protocols, early.types)],
      ['2.8', remoteConsole([...early.protocols, 'mks'], [...early.types, 'webmks'])],
      ['2.99', remoteConsole([...early.protocols, 'mks'], [...early.types, 'webmks', 'spice-direct'])],
    ],
  })
  async remoteConsole(call: Call) {
    const { protocol, type } = (call.body as z.infer<ReturnType<typeof remoteConsole>>).remote_console;
    const row = await serverOf(call, await this.core.fresh(), call.params.id!, 'os_compute_api:os-remote-consoles');
    const fits = (consoleTypes as Readonly<Record<string, readonly string[]>>)[protocol]?.includes(type);
    if (!fits || protocol === 'rdp') throw invalid(`Invalid console type ${type}`);
    const url = await this.openConsole(call, row, protocol, type);
    return { remote_console: { protocol, type, url } };
  }

  private async openConsole(call: Call, row: ServerRow, protocol: string, type: string): Promise<string> {
    if (protocol !== 'vnc' && protocol !== 'serial') throw notBuilt();
    if (type === 'xvpvnc') throw invalid(`Unavailable console type ${type}.`);
    if (!row.onHost || row.taskState === 'deleting') throw notReady(row.id);
    if (row.power !== 'running') throw conflict(`Instance ${row.id} is not running`);
    const token = randomUUID();
    await this.core.commands.execute(
      consoleAggregate,
      row.id,
      {
        type: 'authorize',
        grant: {
          serverId: row.id,
          projectId: row.projectId as ProjectId,
          userId: call.token.userId as UserId,
          fingerprint: fingerprint(token),
          protocol,
          type,
          expiresAt: after(this.core.clock.now(), CONSOLE_LIFETIME),
        },
      },
      call.context('console'),
    );
    return consoleUrl(call.publicRoot, protocol, token);
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/os-console-auth-tokens/:id',
    policy: 'os_compute_api:os-console-auth-tokens',
    live: true,
  })
  async consoleToken(call: Call) {
    const rows = await this.core.fresh();
    const grant = await openGrant(rows, fingerprint(call.params.id!), this.core.clock.now());
    if (!grant) throw notFound('Token not found');
    const server = await serverOf(call, rows, grant.serverId, 'os_compute_api:os-console-auth-tokens');
    const host = server.onHost ? await rows.get(hostTable, server.onHost) : undefined;
    return {
      console: {
        instance_uuid: grant.serverId,
        host: host?.facts?.hostIp ?? null,
        // The agent dials out to us for each session: there is no port to connect to.
        port: null,
        internal_access_path: null,
        ...(call.since('2.99') ? { tls_port: null } : {}),
      },
    };
  }
}

const fingerprint = (token: string) => createHash('sha256').update(token).digest('hex');
const ok = (body: unknown) => new Reply(body, { status: 200 });

/** The grant behind a console token's fingerprint while it is good. */
export const openGrant = async (rows: RowReader, print: string, now: string) => {
  const grant = await rows.get(consoleGrantTable, print);
  if (!grant || grant.expiresAt <= now) return null;
  const revoked = await rows.get(consoleRevocationTable, grant.serverId);
  return revoked && revoked.revokedAt > grant.grantedAt ? null : grant;
};

/** What the console proxy asks. */
@Injectable()
export class ConsoleGrants {
  constructor(private readonly core: GatewayCore) {}

  async find(print: string) {
    const grant = await openGrant(await this.core.fresh(), print, this.core.clock.now());
    return grant && { serverId: grant.serverId, protocol: grant.protocol, expiresAt: grant.expiresAt };
  }
}
