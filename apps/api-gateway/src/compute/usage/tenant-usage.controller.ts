import { Controller } from '@nestjs/common';
import { type Instant, invalid, ms } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { type Call, Operation } from '@omnivisor/openstack';
import { GatewayCore } from '../../core/gateway-core.js';
import { first, isoNaive, markerNotFound, nextLink, pageSize, type Query } from '../common/paging.js';
import * as t from '../common/parameters.js';
import { queryByVersion } from '../common/versions.js';
import { type ServerRow, serverTable } from '../server/view/server.projection.js';

const compute = 'compute' as const;
const path = '/v2.1/os-simple-tenant-usage';
const rule = (name: string) => `os_compute_api:os-simple-tenant-usage:${name}`;
const WEEKS_4 = ms(4 * 7 * 24 * 3_600_000);
const HOUR = 3_600_000;

const span = { start: [['2.1', t.anyText]], end: [['2.1', t.anyText]] } as const;
const paging = { limit: [['2.40', t.limit]], marker: [['2.40', t.anyText]] } as const;
const listQuery = queryByVersion({ ...span, ...paging, detailed: [['2.1', t.anyText]] });
const showQuery = queryByVersion({ ...span, ...paging });

interface Period {
  readonly start: string;
  readonly end: string;
}

/** What projects used, counted from their servers. */
@Controller()
export class TenantUsageController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({ service: compute, method: 'GET', path, policy: rule('list'), query: listQuery })
  async list(call: Call) {
    const query = call.query as Query;
    const period = this.period(query);
    const page = await this.page(call, await this.core.fresh(), period, null);
    const detailed = first(query, 'detailed') === '1';
    const projects = new Map<string, ServerRow[]>();
    for (const s of page) projects.set(s.projectId, [...(projects.get(s.projectId) ?? []), s]);
    return {
      tenant_usages: [...projects].map(([id, servers]) => this.usage(id, servers, period, detailed)),
      ...this.links(call, 'tenant_usages', page),
    };
  }

  @Operation({ service: compute, method: 'GET', path: `${path}/:project`, policy: 'authenticated', query: showQuery })
  async show(call: Call) {
    const project = call.params.project!;
    call.enforce(rule('show'), { project_id: project });
    const period = this.period(call.query as Query);
    const page = await this.page(call, await this.core.fresh(), period, project);
    return {
      tenant_usage: page.length === 0 ? {} : this.usage(project, page, period, true),
      ...this.links(call, 'tenant_usage', page),
    };
  }

  private period(query: Query): Period {
    const now = this.core.now();
    const at = (key: string, otherwise: string): string => {
      const raw = first(query, key);
      if (raw === undefined || raw === '') return otherwise;
      const parsed = t.parseTime(raw);
      if (parsed === null) throw invalid(`Datetime is in invalid format: ${raw.slice(0, 64)}`);
      return parsed;
    };
    const start = at('start', new Date(Date.parse(now) - WEEKS_4).toISOString());
    const end = at('end', now);
    if (start >= end) throw invalid(`Invalid start time. The start time cannot occur after the end time.`);
    return { start, end };
  }

  private async page(call: Call, rows: RowReader, { start, end }: Period, projectId: string | null) {
    const found = await rows.find(serverTable, {
      ...(projectId === null ? {} : { where: { projectId } }),
      orderBy: [['createdAt', 'asc']],
    });
    const inside = found.filter((s) => s.launchedAt !== null && s.launchedAt < end && (s.terminatedAt ?? end) > start);
    if (!call.since('2.40')) return inside;
    const query = call.query as Query;
    const marker = first(query, 'marker');
    const from = marker === undefined ? 0 : inside.findIndex((s) => s.id === marker) + 1;
    if (marker !== undefined && from === 0) throw markerNotFound(marker);
    return inside.slice(from, from + pageSize(query));
  }

  private links(call: Call, name: string, page: readonly ServerRow[]) {
    return call.since('2.40') ? nextLink(call, name, page, page.at(-1)?.id) : {};
  }

  private usage(projectId: string, servers: readonly ServerRow[], period: Period, detailed: boolean) {
    const now = this.core.now();
    const each = servers.map((s) => serverUsage(s, period, now));
    const sum = (weight: (s: (typeof each)[number]) => number) => each.reduce((n, s) => n + s.hours * weight(s), 0);
    return {
      tenant_id: projectId,
      start: isoNaive(period.start),
      stop: isoNaive(period.end),
      total_hours: sum(() => 1),
      total_vcpus_usage: sum((s) => s.vcpus),
      total_memory_mb_usage: sum((s) => s.memory_mb),
      total_local_gb_usage: sum((s) => s.local_gb),
      ...(detailed ? { server_usages: each } : {}),
    };
  }
}

const serverUsage = (s: ServerRow, { start, end }: Period, now: Instant) => {
  const from = s.launchedAt! > start ? s.launchedAt! : start;
  const stop = s.terminatedAt ?? (now < end ? now : end);
  const to = stop < end ? stop : end;
  return {
    instance_id: s.id,
    name: s.name,
    tenant_id: s.projectId,
    flavor: s.flavor.name,
    vcpus: s.flavor.vcpus,
    memory_mb: s.flavor.memory,
    local_gb: s.flavor.disk + s.flavor.ephemeral,
    hours: Math.max(0, (Date.parse(to) - Date.parse(from)) / HOUR),
    started_at: isoNaive(s.launchedAt!),
    ended_at: s.terminatedAt ? isoNaive(s.terminatedAt) : null,
    state: s.terminatedAt ? 'terminated' : s.vmState,
    uptime: Math.max(0, Math.floor((Date.parse(s.terminatedAt ?? now) - Date.parse(s.launchedAt!)) / 1000)),
  };
};
