import { Controller } from '@nestjs/common';
import { AdminReply, AdminRequest, adminSubject, endpoint, invalid, notFound, unsupported } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { isoNaive, last, type Query } from '../common/paging.js';
import * as t from '../common/parameters.js';
import { queryByVersion, View, type ViewField } from '../common/versions.js';
import type { HostRow } from '../host/host.projection.js';
import { hostsOf, numberOf } from '../host/host-usage.js';
import { BINARY, type ComputeService, SCHEDULER, schedulerService, serviceOf } from './compute-service.js';

const compute = 'compute' as const;
const path = '/v2.1/os-services';
const rule = (name: string) => `os_compute_api:os-services:${name}`;

const enableHost = endpoint(adminSubject('scheduler', 'host-enable'), AdminRequest, AdminReply);
const disableHost = endpoint(adminSubject('scheduler', 'host-disable'), AdminRequest, AdminReply);

type Field = ViewField<ComputeService, undefined>;
const fields: readonly Field[] = [
  ['id', '2.1', '2.52', numberOf],
  ['id', '2.53', null, (s) => s.id],
  ['binary', '2.1', null, (s) => s.binary],
  ['host', '2.1', null, (s) => s.host],
  ['zone', '2.1', null, (s) => s.zone],
  ['status', '2.1', null, (s) => s.status],
  ['state', '2.1', null, (s) => (s.up ? 'up' : 'down')],
  ['updated_at', '2.1', null, (s) => s.updatedAt && isoNaive(s.updatedAt)],
  ['disabled_reason', '2.1', null, (s) => s.disabledReason],
  ['forced_down', '2.11', null, (s) => s.forcedDown],
];
const view = new View<ComputeService>(fields);

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

/** Compute hosts, and the scheduler: what else Nova has as processes of their own is none here. */
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
    const hosts = (await hostsOf(await this.core.fresh())).map(serviceOf);
    // The log does not tell when there was a scheduler.
    const scheduler = this.core.isLookingBack ? [] : [await schedulerService(this.core)];
    const found = [...scheduler, ...hosts].filter(
      (s) => (!host || s.host === host) && (!binary || s.binary === binary),
    );
    return { services: found.map((s) => view.render(call.version, s, undefined)) };
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
    const known = ['enable', 'disable', 'disable-log-reason', ...(call.since('2.11') ? ['force-down'] : [])];
    if (!known.includes(action)) throw notFound(`Unknown action`);
    if (action === 'disable-log-reason' && body.disabled_reason === undefined)
      throw invalid('Missing disabled reason field');
    if (body.binary !== BINARY) throw onlyHosts('updated', body.binary);
    const host = (await hostsOf(await this.core.fresh())).find((h) => h.name === body.host);
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
    const host = await this.host(call, 'updated');
    if (body.forced_down !== undefined) throw refuseForcedDown();
    if (body.status === undefined && body.disabled_reason === undefined)
      throw invalid("No updates were requested. Fields 'status' or 'forced_down' should be specified.");
    if (body.disabled_reason !== undefined && body.status !== 'disabled')
      throw invalid("Specifying 'disabled_reason' when status is 'enabled' is invalid.");
    await this.enable(host.id, body.status === 'enabled', body.disabled_reason ?? null);
    const now = (await hostsOf(await this.core.fresh())).find((h) => h.id === host.id) ?? host;
    return { service: view.render(call.version, serviceOf(now), undefined) };
  }

  @Operation({ service: compute, method: 'DELETE', path: `${path}/:id`, policy: rule('delete'), status: 204 })
  async remove(call: Call) {
    await this.host(call, 'deleted');
    throw unsupported('A host leaves the cloud by the command line, which makes sure that nothing of it is forgotten.');
  }

  private async enable(hostId: string, enabled: boolean, why: string | null): Promise<void> {
    const args = { host: hostId, ...(why === null ? {} : { reason: why }) };
    await this.core.bus.request(enabled ? enableHost : disableHost, { args });
  }

  private async host(call: Call, changed: 'updated' | 'deleted'): Promise<HostRow> {
    const id = call.params.id!;
    const byUuid = call.since('2.53');
    if (byUuid && !t.uuid.safeParse(id).success) throw invalid(`Invalid uuid ${id.slice(0, 255)}`);
    const isMeant = (s: { readonly id: string }) => (byUuid ? s.id === id : String(numberOf(s)) === id);
    if (isMeant(SCHEDULER)) throw onlyHosts(changed, SCHEDULER.binary);
    const host = (await hostsOf(await this.core.fresh())).find(isMeant);
    if (!host) throw notFound(`Service ${id.slice(0, 255)} not found.`);
    return host;
  }
}

const onlyHosts = (changed: 'updated' | 'deleted', binary: string) =>
  invalid(
    `${changed === 'updated' ? 'Updating' : 'Deleting'} a ${binary} service is not supported. Only ${BINARY} services can be ${changed}.`,
  );

const refuseForcedDown = () =>
  unsupported('Whether a host is down is found out, not set; an operator can fence it by the command line.');
