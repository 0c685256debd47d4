import { Controller } from '@nestjs/common';
import { invalid, notFound } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { first, markerNotFound, nextLink, pageOf, type Query } from '../common/paging.js';
import * as t from '../common/parameters.js';
import { queryByVersion, View, type ViewField } from '../common/versions.js';
import type { HostRow } from '../host/host.projection.js';
import { statusOf } from '../host/host-health.js';
import { type HostUsage, hostsOf, numberOf, usageOf } from '../host/host-usage.js';
import { HostUptimes } from './host-uptimes.js';

const compute = 'compute' as const;
const path = '/v2.1/os-hypervisors';
const rule = (name: string) => `os_compute_api:os-hypervisors:${name}`;

interface Context {
  readonly usage: HostUsage;
  readonly withServers: boolean;
  /** Null when its host does not tell. */
  readonly uptime?: string | null;
}
type Field = ViewField<HostRow, Context>;

const brief: readonly Field[] = [
  ['id', '2.1', '2.52', numberOf],
  ['id', '2.53', null, (h) => h.id],
  ['hypervisor_hostname', '2.1', null, (h) => h.facts?.node ?? h.name],
  ['state', '2.1', null, (h) => (h.up ? 'up' : 'down')],
  ['status', '2.1', null, (h) => statusOf(h).status],
];
const servers: Field = [
  'servers',
  '2.53',
  null,
  (_, c) => (c.withServers ? c.usage.servers.map((s) => ({ name: s.name, uuid: s.id })) : undefined),
];

const until = '2.87';
const full: readonly Field[] = [
  ...brief,
  ['hypervisor_type', '2.1', null, (h) => h.facts?.hypervisorType ?? ''],
  ['hypervisor_version', '2.1', null, (h) => h.facts?.hypervisorVersion ?? 0],
  ['host_ip', '2.1', null, (h) => h.facts?.hostIp ?? ''],
  ['service', '2.1', '2.52', (h) => ({ id: numberOf(h), host: h.name, disabled_reason: statusOf(h).reason })],
  ['service', '2.53', null, (h) => ({ id: h.id, host: h.name, disabled_reason: statusOf(h).reason })],
  // As in what its servers use of them, those of their own count as well.
  ['vcpus', '2.1', until, (h) => (h.facts?.vcpus ?? 0) + (h.facts?.dedicatedCpus ?? 0)],
  ['memory_mb', '2.1', until, (h) => h.facts?.memoryMib ?? 0],
  ['local_gb', '2.1', until, (h) => h.facts?.diskGib ?? 0],
  ['vcpus_used', '2.1', until, (_, c) => c.usage.vcpus],
  ['memory_mb_used', '2.1', until, (_, c) => c.usage.memory],
  ['local_gb_used', '2.1', until, (_, c) => c.usage.disk],
  ['free_ram_mb', '2.1', until, (h, c) => (h.facts?.memoryMib ?? 0) - c.usage.memory],
  ['free_disk_gb', '2.1', until, (h, c) => (h.facts?.diskGib ?? 0) - c.usage.disk],
  ['current_workload', '2.1', until, (_, c) => c.usage.busy],
  ['running_vms', '2.1', until, (_, c) => c.usage.servers.length],
  ['disk_available_least', '2.1', until, (h, c) => (h.facts?.diskGib ?? 0) - c.usage.disk],
  ['cpu_info', '2.1', '2.27', (h) => JSON.stringify(h.facts?.cpuInfo ?? {})],
  ['cpu_info', '2.28', until, (h) => h.facts?.cpuInfo ?? {}],
  ['uptime', '2.88', null, (_, c) => c.uptime ?? null],
];
const briefView = new View<HostRow, Context>([...brief, servers]);
const fullView = new View<HostRow, Context>([...full, servers]);

const TRUE = ['1', 't', 'true', 'on', 'y', 'yes'];
const FALSE = ['0', 'f', 'false', 'off', 'n', 'no'];
const flag = z
  .array(z.string().refine((v) => [...TRUE, ...FALSE].includes(v.toLowerCase()), { error: 'is not a boolean' }))
  .max(1);
/** Hypervisors refuse unknown keys since their ids are UUIDs. */
const STRICT = '2.53';
const listQuery = queryByVersion(
  {
    limit: [['2.33', t.limit]],
    marker: [['2.33', t.anyText]],
    hypervisor_hostname_pattern: [['2.53', t.single]],
    with_servers: [['2.53', flag]],
  },
  STRICT,
);

@Controller()
export class HypervisorsController {
  constructor(
    private readonly core: GatewayCore,
    private readonly uptimes: HostUptimes,
  ) {}

  @Operation({ service: compute, method: 'GET', path, policy: rule('list'), query: listQuery })
  list(call: Call) {
    return this.page(call, briefView);
  }

  @Operation({ service: compute, method: 'GET', path: `${path}/detail`, policy: rule('list-detail'), query: listQuery })
  detail(call: Call) {
    return this.page(call, fullView);
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: `${path}/statistics`,
    versions: ['2.1', '2.87'],
    policy: rule('statistics'),
  })
  async statistics() {
    const rows = await this.core.fresh();
    const hosts = (await hostsOf(rows)).filter((h) => h.enabled);
    const total: Record<string, number> = { count: hosts.length };
    for (const host of hosts) {
      const context = { usage: await usageOf(rows, host.id), withServers: false };
      const shown = fullView.render({ major: 2, minor: 1 }, host, context);
      for (const field of summed) total[field] = (total[field] ?? 0) + Number(shown[field]);
    }
    return { hypervisor_statistics: { ...Object.fromEntries(summed.map((f) => [f, 0])), ...total } };
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: `${path}/:id`,
    policy: rule('show'),
    query: queryByVersion({ with_servers: [['2.53', flag]] }, STRICT),
  })
  async show(call: Call) {
    const rows = await this.core.fresh();
    const host = await this.host(call);
    const withServers = asked(call.query as Query);
    const uptime = call.since('2.88') ? await this.uptimes.known(host) : null;
    const context = { usage: await usageOf(rows, host.id), withServers, uptime };
    return { hypervisor: fullView.render(call.version, host, context) };
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: `${path}/:id/uptime`,
    versions: ['2.1', '2.87'],
    policy: rule('uptime'),
    live: true,
  })
  async uptime(call: Call) {
    const host = await this.host(call);
    const uptime = await this.uptimes.of(host);
    const context = { usage: await usageOf(await this.core.fresh(), host.id), withServers: false };
    return { hypervisor: { ...briefView.render(call.version, host, context), uptime } };
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: `${path}/:id/search`,
    versions: ['2.1', '2.52'],
    policy: rule('search'),
  })
  async search(call: Call) {
    const rows = await this.core.fresh();
    const found = await this.matching(call.params.id!);
    return {
      hypervisors: await Promise.all(
        found.map(async (h) =>
          briefView.render(call.version, h, { usage: await usageOf(rows, h.id), withServers: false }),
        ),
      ),
    };
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: `${path}/:id/servers`,
    versions: ['2.1', '2.52'],
    policy: rule('servers'),
  })
  async servers(call: Call) {
    const rows = await this.core.fresh();
    const found = await this.matching(call.params.id!);
    return {
      hypervisors: await Promise.all(
        found.map(async (h) => {
          const usage = await usageOf(rows, h.id);
          const shown = briefView.render(call.version, h, { usage, withServers: false });
          return usage.servers.length === 0
            ? shown
            : { ...shown, servers: usage.servers.map((s) => ({ name: s.name, uuid: s.id })) };
        }),
      ),
    };
  }

  private async page(call: Call, view: View<HostRow, Context>) {
    const query = call.query as Query;
    const pattern = call.since('2.53') ? first(query, 'hypervisor_hostname_pattern') : undefined;
    if (pattern !== undefined && (query.limit || query.marker))
      throw invalid('Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.');
    const rows = await this.core.fresh();
    const found = pattern === undefined ? await hostsOf(rows) : await this.matching(pattern);
    const keyOf = (h: HostRow) => (call.since('2.53') ? h.id : String(numberOf(h)));
    const paged = pattern === undefined && call.since('2.33');
    const marker = first(query, 'marker');
    if (paged && marker !== undefined && !found.some((h) => keyOf(h) === marker)) throw markerNotFound(marker);
    const page = paged ? pageOf(found, query, keyOf) : found;
    const withServers = call.since('2.53') && asked(query);
    const last = page.at(-1);
    return {
      hypervisors: await Promise.all(
        page.map(async (h) => {
          const usage = await usageOf(rows, h.id);
          // Before 2.75 a hypervisor without servers had no list of them.
          const shown = withServers && (call.since('2.75') || usage.servers.length > 0);
          const uptime = view === fullView && call.since('2.88') ? await this.uptimes.listed(h) : null;
          return view.render(call.version, h, { usage, withServers: shown, uptime });
        }),
      ),
      ...(paged ? nextLink(call, 'hypervisors', page, last && keyOf(last)) : {}),
    };
  }

  private async matching(pattern: string): Promise<HostRow[]> {
    const found = (await hostsOf(await this.core.fresh())).filter((h) => (h.facts?.node ?? h.name).includes(pattern));
    if (found.length === 0) throw notFound(`No hypervisor matching '${pattern.slice(0, 255)}' could be found.`);
    return found;
  }

  private async host(call: Call): Promise<HostRow> {
    const id = call.params.id!;
    const byUuid = call.since('2.53');
    if (byUuid && !t.uuid.safeParse(id).success) throw invalid(`Invalid uuid ${id.slice(0, 255)}`);
    const host = (await hostsOf(await this.core.fresh())).find((h) =>
      byUuid ? h.id === id : String(numberOf(h)) === id,
    );
    if (!host) throw notFound(`Hypervisor with ID '${id.slice(0, 255)}' could not be found.`);
    return host;
  }
}

const asked = (query: Query) => TRUE.includes((first(query, 'with_servers') ?? 'false').toLowerCase());

const summed = [
  'vcpus',
  'memory_mb',
  'local_gb',
  'vcpus_used',
  'memory_mb_used',
  'local_gb_used',
  'free_ram_mb',
  'free_disk_gb',
  'current_workload',
  'running_vms',
  'disk_available_least',
] as const;
