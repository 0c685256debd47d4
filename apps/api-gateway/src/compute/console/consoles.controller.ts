import { Controller } from '@nestjs/common';
import { invalid, notFound } from '@omnivisor/contracts';
import { type Call, Operation, Reply, unauthenticated } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { serverOf } from '../common/access.js';
import { hostTable } from '../host/host.projection.js';
import { serverTable } from '../server/view/server.projection.js';
import { RDP_PATH } from './console-url.js';
import { Consoles, openGrant } from './consoles.js';
import { rdpFile } from './rdp-file.js';

const service = 'compute' as const;
const policy = 'os_compute_api:os-remote-consoles';
const tokenPolicy = 'os_compute_api:os-console-auth-tokens';

const consoleTypes: Readonly<Record<string, readonly string[]>> = {
  vnc: ['novnc'],
  spice: ['spice-html5'],
  serial: ['serial'],
  mks: ['webmks'],
  rdp: ['rdp-html5'],
};
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

/** Consoles from 2.6 on, what tokens for them open, and the file that one of them is. */
@Controller()
export class ConsolesController {
  constructor(
    private readonly core: GatewayCore,
    private readonly consoles: Consoles,
  ) {}

  @Operation({
    ...{ service, method: 'POST', path: '/v2.1/servers/:id/remote-consoles', versions: ['2.6'], policy },
    body: [
      ['2.6', remoteConsole(early.protocols, early.types)],
      ['2.8', remoteConsole([...early.protocols, 'mks'], [...early.types, 'webmks'])],
      ['2.99', remoteConsole([...early.protocols, 'mks'], [...early.types, 'webmks', 'spice-direct'])],
    ],
  })
  async open(call: Call) {
    const { protocol, type } = (call.body as z.infer<ReturnType<typeof remoteConsole>>).remote_console;
    const rows = await this.core.fresh();
    const row = await serverOf(call, rows, call.params.id!, policy);
    if (!consoleTypes[protocol]?.includes(type)) throw invalid(`Invalid console type ${type}`);
    return { remote_console: { protocol, type, url: await this.consoles.open(call, rows, row, protocol, type) } };
  }

  @Operation({ service, method: 'GET', path: '/v2.1/os-console-auth-tokens/:id', policy: tokenPolicy, live: true })
  async token(call: Call) {
    const rows = await this.core.fresh();
    const grant = await openGrant(rows, call.params.id!, this.core.clock.now());
    if (!grant) throw notFound('Token not found');
    const server = await serverOf(call, rows, grant.serverId, tokenPolicy);
    if (!call.since('2.31') && grant.type !== 'rdp-html5')
      throw unauthenticated('The requested console type details are not accessible');
    const host = server.onHost ? await rows.get(hostTable, server.onHost) : undefined;
    const ticket = grant.protocol === 'rdp' ? await this.consoles.rdp(server) : null;
    return {
      console: {
        instance_uuid: grant.serverId,
        host: ticket?.host ?? host?.facts?.hostIp ?? null,
        // For the others the agent dials out to us for each session: there is no port to connect to.
        port: ticket?.port ?? null,
        internal_access_path: ticket?.accessPath ?? null,
        ...(call.since('2.99') ? { tls_port: null } : {}),
      },
    };
  }

  /** Whoever has the token may open the console: it stands for its user. */
  @Operation({
    ...{ service, method: 'GET', path: RDP_PATH, policy: 'open', live: true },
    query: z.object({ token: z.array(z.string().min(1).max(255)).length(1) }),
  })
  async file(call: Call<unknown, { token: string[] }>) {
    const rows = await this.core.fresh();
    const grant = await openGrant(rows, call.query.token[0]!, this.core.clock.now());
    const server = grant?.protocol === 'rdp' ? await rows.get(serverTable, grant.serverId) : undefined;
    if (!server || server.deleteRequested || server.power !== 'running') throw notFound('Token not found');
    const text = rdpFile(await this.consoles.rdp(server));
    return new Reply(Buffer.from(text), {
      headers: {
        'content-type': 'application/x-rdp',
        'content-disposition': `attachment; filename="${server.id}.rdp"`,
        'cache-control': 'no-store',
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
      },
    });
  }
}
