import { Controller } from '@nestjs/common';
import { invalid, notFound } from '@omnivisor/contracts';
import { type Call, Operation, pythonStr } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { last, type Query } from '../common/paging.js';
import * as t from '../common/parameters.js';
import { ComputeNetwork, ComputeNetworkApi } from '../compute-ports.js';
import { asked } from './network-api.js';

const service = 'compute' as const;
const versions: [string, string] = ['2.1', '2.35'];
const groups = '/v2.1/os-security-groups';
const rules = '/v2.1/os-security-group-rules';
const rule = (name: string) => `os_compute_api:os-security-groups:${name}`;

const text = z.string().max(255);
const GroupBody = z.looseObject({ security_group: z.looseObject({ name: text, description: text }) });
const RuleBody = z.looseObject({
  security_group_rule: z.looseObject({
    parent_group_id: t.uuid,
    group_id: t.uuid.nullable().optional(),
    cidr: z.unknown().optional(),
    ip_protocol: z.unknown().optional(),
    from_port: z.unknown().optional(),
    to_port: z.unknown().optional(),
  }),
});
type RuleBody = z.infer<typeof RuleBody>['security_group_rule'];
const number = z.array(z.string().regex(/^\d*$/)).optional();
const ListQuery = z.looseObject({ limit: number, offset: number });

type Group = { readonly id: string; readonly tenant_id: string; readonly name: string };
type Rule = { readonly id: string };
type Detail = Record<string, unknown> & { readonly rules: readonly Record<string, unknown>[] };

/** Security groups as Compute showed them before 2.36: Network's own, asked for in the caller's name. */
@Controller()
export class SecurityGroupProxyController {
  constructor(
    private readonly core: GatewayCore,
    private readonly network: ComputeNetwork,
    private readonly api: ComputeNetworkApi,
  ) {}

  @Operation({ service, method: 'GET', path: groups, versions, policy: rule('get'), query: ListQuery })
  async list(call: Call) {
    const everywhere = call.isAdmin && 'all_tenants' in call.query;
    const query = everywhere ? '' : `?${new URLSearchParams({ project_id: call.token.projectId ?? '' })}`;
    const found = await asked<{ security_groups: Group[] }>(this.api, call, 'GET', `/security-groups${query}`);
    const sorted = found.security_groups.sort((a, b) =>
      `${a.tenant_id} ${a.name}` < `${b.tenant_id} ${b.name}` ? -1 : 1,
    );
    const from = Number(last(call.query as Query, 'offset') || 0);
    const limit = last(call.query as Query, 'limit');
    const page = sorted.slice(from, limit ? from + Number(limit) : undefined);
    return { security_groups: await this.details(page.map((g) => g.id)) };
  }

  @Operation({ service, method: 'GET', path: `${groups}/:id`, versions, policy: rule('show') })
  async show(call: Call) {
    const id = idOf(call);
    await asked(this.api, call, 'GET', `/security-groups/${id}`);
    return { security_group: await this.detail(id) };
  }

  @Operation({ service, method: 'POST', path: groups, versions, policy: rule('create'), body: GroupBody })
  async create(call: Call) {
    const made = await asked<{ security_group: Group }>(this.api, call, 'POST', '/security-groups', wanted(call));
    return { security_group: await this.detail(made.security_group.id) };
  }

  @Operation({ service, method: 'PUT', path: `${groups}/:id`, versions, policy: rule('update'), body: GroupBody })
  async update(call: Call) {
    const id = idOf(call);
    await asked(this.api, call, 'PUT', `/security-groups/${id}`, wanted(call));
    return { security_group: await this.detail(id) };
  }

  @Operation({ service, method: 'DELETE', path: `${groups}/:id`, versions, policy: rule('delete'), status: 202 })
  async remove(call: Call) {
    await asked(this.api, call, 'DELETE', `/security-groups/${idOf(call)}`);
  }

  @Operation({ service, method: 'POST', path: rules, versions, policy: rule('rule:create'), body: RuleBody })
  async addRule(call: Call) {
    const body = (call.body as z.infer<typeof RuleBody>).security_group_rule;
    const made = await asked<{ security_group_rule: Rule }>(this.api, call, 'POST', '/security-group-rules', {
      security_group_rule: ruleFor(body),
    });
    const { rules: all } = await this.detail(body.parent_group_id);
    return { security_group_rule: all.find((r) => r.id === made.security_group_rule.id) };
  }

  @Operation({ service, method: 'DELETE', path: `${rules}/:id`, versions, policy: rule('rule:delete'), status: 202 })
  async removeRule(call: Call) {
    await asked(this.api, call, 'DELETE', `/security-group-rules/${idOf(call)}`);
  }

  private async details(ids: readonly string[]): Promise<Detail[]> {
    return (await this.network.groupDetails(await this.core.fresh(), ids)) as Detail[];
  }

  private async detail(id: string): Promise<Detail> {
    const [found] = await this.details([id]);
    if (!found) throw notFound(`Security group ${id} not found.`);
    return found;
  }
}

const idOf = (call: Call): string => {
  const id = t.uuid.safeParse(call.params.id);
  if (!id.success) throw invalid('Security group id should be uuid');
  return id.data;
};

const wanted = (call: Call) => {
  const { name, description } = (call.body as z.infer<typeof GroupBody>).security_group;
  return { security_group: { name, description } };
};

/** Network's rule for one of Compute, where -1 is any. */
const ruleFor = (rule: RuleBody) => {
  const group = rule.group_id ?? null;
  const given = (value: unknown) => (value === undefined || value === null || value === '' ? null : pythonStr(value));
  const [protocol, from, to] = [given(rule.ip_protocol), portOf(rule.from_port), portOf(rule.to_port)];
  if (group === null && protocol === null) throw invalid('Not enough parameters to build a valid rule.');
  const cidr = given(rule.cidr);
  return {
    security_group_id: rule.parent_group_id,
    direction: 'ingress',
    ethertype: cidr?.includes(':') ? 'IPv6' : 'IPv4',
    protocol: protocol?.toLowerCase() ?? null,
    port_range_min: from,
    port_range_max: to,
    ...(group === null ? { remote_ip_prefix: cidr ?? '0.0.0.0/0' } : { remote_group_id: group }),
  };
};

const portOf = (value: unknown): number | null => {
  if (value === undefined || value === null || value === -1 || value === '-1') return null;
  const port = t.integer(0, 65_535).safeParse(value);
  if (!port.success) throw invalid(`Invalid input received: Invalid port ${pythonStr(value).slice(0, 64)}`);
  return port.data as number;
};
