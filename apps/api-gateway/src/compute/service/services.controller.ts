import { Controller } from '@nestjs/common';
import { AdminReply, AdminRequest, adminSubject, endpoint, invalid, notFound, unsupported } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { isoNaive, last, type Query } from '../common/paging.js';
import * as t from '../common/parameters.js';
import { queryByVersion, View, type ViewField } from '../common/versions.js';
import type { HostRow } from '../host/host.projection.js';
import { statusOf } from '../host/host-health.js';
import { hostsOf, numberOf } from '../host/host-usage.js';

const compute = 'compute' as const;
const path = '/v2.1/os-services';
const rule = (name: string) => `os_compute_api:os-services:${name}`;
const BINARY = 'nova-compute';

const enableHost = endpoint(adminSubject('scheduler', 'host-enable'), AdminRequest, AdminReply);
const disableHost = endpoint(adminSubject('scheduler', 'host-disable'), AdminRequest, AdminReply);

type Field = ViewField<HostRow, undefined>;
const fields: readonly Field[] = [
  ['id', '2.1', '2.52', numberOf],
  ['id', '2.53', null, (h) => h.id],
  ['binary', '2.1', null, () => BINARY],
  ['host', '2.1', null, (h) => h.name],
  ['zone', '2.1', null, (h) => h.availabilityZone],
  ['status', '2.1', null, (h) => statusOf(h).status],
  ['state', '2.1', null, (h) => (h.up ? 'up' : 'down')],
  ['updated_at', '2.1', null, (h) => isoNaive(h.updatedAt)],
  ['disabled_reason', '2.1', null, (h) => statusOf(h).reason],
  ['forced_down', '2.11', null, (h) => h.fenced],
];
const view = new View<HostRow>(fields);

const reason = z.string().min(1).max(255);
const update = z.strictObject({
  status: z.enum(['enabled', 'disabled']).optional(),
  disabled_reason: reason.optional(),
  forced_down: t.boolean.optional(),
});
const oldUpdate = z.strictObject({
  host: t.fqdn,
  binary: z.string().min(1).max(255),
  disabled_reason: reason.optional(),
  forced_down: t.boolean.optional(),
});
type OldUpdate = z.infer<typeof oldUpdate>;

/** Every compute host is a service: the only ones that have a host of their own. */
@Controller()
export class ServicesController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({
    service: compute,
    method: 'GET',
    path,
    policy: rule('list'),
    query: queryByVersion({ host: [['2.1', t.anyText]], binary: [['2.1', t.anyText]] }),
  })
  async list(call: Call) {
    const query = call.query as Query;
    const host = last(query, 'host');
    const binary = last(query, 'binary');
    const found = (await hostsOf(await this.core.fresh())).filter(
      (h) => (host === undefined || h.name === host) && (binary === undefined || binary === BINARY),
    );
    return { services: found.map((h) => view.render(call.version, h, undefined)) };
  }

  /** Until 2.52 the action stands in the path and the service in the body. */
  @Operation({
    service: compute,
    method: 'PUT',
    path: `${path}/:id`,
    versions: ['2.1', '2.52'],
    policy: rule('update'),
    body: oldUpdate,
  })
  async act(call: Call) {
    const body = call.body as OldUpdate;
    const action = call.params.id!;
    const host = (await hostsOf(await this.core.fresh())).find((h) => h.name === body.host && body.binary === BINARY);
    const known = ['enable', 'disable', 'disable-log-reason', ...(call.since('2.11') ? ['force-down'] : [])];
    if (!known.includes(action)) throw notFound(`Unknown action`);
    if (action === 'disable-log-reason' && body.disabled_reason === undefined)
      throw invalid('Missing disabled reason field');
    if (!host) throw notFound(`Host ${body.host} could not be found.`);
    if (action === 'force-down') throw refuseForcedDown();
    const enabled = action === 'enable';
    await this.enable(host.id, enabled, body.disabled_reason ?? null);
    return {
      service: {
        host: host.name,
        binary: BINARY,
        status: enabled ? 'enabled' : 'disabled',
        ...(action === 'disable-log-reason' ? { disabled_reason: body.disabled_reason } : {}),
      },
    };
  }

  @Operation({
    service: compute,
    method: 'PUT',
    path: `${path}/:id`,
    versions: ['2.53'],
    policy: rule('update'),
    body: update,
  })
  async update(call: Call) {
    const body = call.body as z.infer<typeof update>;
    const host = await this.host(call);
    if (body.forced_down !== undefined) throw refuseForcedDown();
    if (body.status === undefined && body.disabled_reason === undefined)
      throw invalid("No updates were requested. Fields 'status' or 'forced_down' should be specified.");
    if (body.disabled_reason !== undefined && body.status !== 'disabled')
      throw invalid("Specifying 'disabled_reason' when status is 'enabled' is invalid.");
    await this.enable(host.id, body.status === 'enabled', body.disabled_reason ?? null);
    const now = (await hostsOf(await this.core.fresh())).find((h) => h.id === host.id) ?? host;
    return { service: view.render(call.version, now, undefined) };
  }

  @Operation({ service: compute, method: 'DELETE', path: `${path}/:id`, policy: rule('delete'), status: 204 })
  async remove(call: Call) {
    await this.host(call);
    throw unsupported('A host leaves the cloud by the command line, which makes sure that nothing of it is forgotten.');
  }

  private async enable(hostId: string, enabled: boolean, why: string | null): Promise<void> {
    const args = { host: hostId, ...(why === null ? {} : { reason: why }) };
    await this.core.bus.request(enabled ? enableHost : disableHost, { args });
  }

  private async host(call: Call): Promise<HostRow> {
    const id = call.params.id!;
    const byUuid = call.since('2.53');
    if (byUuid && !t.uuid.safeParse(id).success) throw invalid(`Invalid uuid ${id.slice(0, 255)}`);
    const host = (await hostsOf(await this.core.fresh())).find((h) =>
      byUuid ? h.id === id : String(numberOf(h)) === id,
    );
    if (!host) throw notFound(`Service ${id.slice(0, 255)} not found.`);
    return host;
  }
}

const refuseForcedDown = () =>
  unsupported('Whether a host is down is found out, not set; an operator can fence it by the command line.');
