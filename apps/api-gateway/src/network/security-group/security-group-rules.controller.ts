import { Controller } from '@nestjs/common';
import type { ProjectId, SecurityGroupId, SecurityGroupRule, SecurityGroupRuleId } from '@omnivisor/contracts';
import { type Call, Operation, pythonStr, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import {
  type Attributes,
  oneOf,
  only,
  orNull,
  parseCreate,
  postOnly,
  prefix,
  readOnly,
  text,
  textOrNone,
  uuid,
} from '../common/attributes.js';
import { list, present, show, type View, visible } from '../common/collection.js';
import { step } from '../common/context.js';
import { networkQuota } from '../quota/network-quota.js';
import { removeRule } from './remove-rule.js';
import { checkRule, portOf, protocolOf } from './rule-checks.js';
import { securityGroup } from './security-group.js';
import { securityGroupKind, securityGroupRuleKind } from './security-group.kind.js';
import { securityGroupRuleTable } from './security-group.projection.js';

const lower =
  (...values: string[]) =>
  (v: unknown) =>
    oneOf(...values)(values.find((x) => x.toLowerCase() === pythonStr(v).toLowerCase()) ?? v);

const attributes: Attributes = {
  id: readOnly,
  created_at: readOnly,
  updated_at: readOnly,
  revision_number: readOnly,
  security_group_id: { post: uuid, required: true },
  direction: { post: lower('ingress', 'egress'), required: true },
  ethertype: postOnly((v) => (v === null ? 'IPv4' : lower('IPv4', 'IPv6')(v))),
  protocol: postOnly(protocolOf),
  port_range_min: postOnly(orNull(portOf)),
  port_range_max: postOnly(orNull(portOf)),
  remote_ip_prefix: postOnly((v) => (v === null || v === '' ? null : prefix(v))),
  remote_group_id: postOnly(orNull(text())),
  remote_address_group_id: postOnly(only(null)),
  description: postOnly(textOrNone()),
  tenant_id: postOnly(text()),
  project_id: postOnly(text()),
};

const ruleOf = (given: View, id: string): SecurityGroupRule => {
  const value = <T>(name: string) => (given[name] ?? null) as T | null;
  const rule: SecurityGroupRule = {
    id: id as SecurityGroupRuleId,
    direction: given.direction as SecurityGroupRule['direction'],
    ethertype: value<SecurityGroupRule['ethertype']>('ethertype') ?? 'IPv4',
    protocol: value('protocol'),
    portMin: value('port_range_min'),
    portMax: value('port_range_max'),
    remotePrefix: value('remote_ip_prefix'),
    remoteGroup: value('remote_group_id'),
    description: value<string>('description') ?? '',
  };
  checkRule(rule);
  return rule;
};

@Controller()
export class SecurityGroupRulesController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/security-group-rules', policy: 'authenticated' })
  async list(call: Call) {
    return list(securityGroupRuleKind, await this.core.fresh(), call);
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/security-group-rules/:id', policy: 'authenticated' })
  async show(call: Call) {
    return show(securityGroupRuleKind, await this.core.fresh(), call, call.params.id ?? '');
  }

  @Operation({
    service: 'network',
    method: 'POST',
    path: '/v2.0/security-group-rules',
    policy: 'authenticated',
    status: 201,
    body: z.unknown(),
  })
  async create(call: Call) {
    const { bulk, items } = parseCreate(call.body, 'security_group_rule', 'security_group_rules', attributes);
    const rows = await this.core.fresh();
    const wanted = [];
    for (const given of items) {
      const rule = ruleOf(given, this.core.ids.uuid());
      const group = await visible(securityGroupKind, rows, call, `${given.security_group_id}`);
      call.enforce('create_security_group_rule', {
        project_id: group.projectId,
        'security_group:project_id': group.projectId,
      });
      if (rule.remoteGroup !== null) await visible(securityGroupKind, rows, call, rule.remoteGroup);
      wanted.push({ rule, group });
    }
    const views: View[] = [];
    for (const [i, { rule, group }] of wanted.entries()) {
      const context = call.context(`rule ${i}`);
      const { projectId } = group;
      const quota = { projectId, resource: 'security_group_rule' as const, ids: [rule.id] };
      const { commands } = this.core;
      await commands.execute(
        networkQuota,
        projectId,
        { type: 'take', ...quota, parent: group.id },
        step(context, 'quota'),
      );
      try {
        await commands.execute(
          securityGroup,
          group.id,
          { type: 'addRule', securityGroupId: group.id as SecurityGroupId, rule },
          context,
        );
      } catch (error) {
        await commands.execute(networkQuota, projectId, { type: 'giveBack', ...quota }, step(context, 'undo'));
        throw error;
      }
      const after = await this.core.fresh();
      const row = (await after.get(securityGroupRuleTable, rule.id))!;
      views.push(await present(securityGroupRuleKind, after, call, row, []));
    }
    return bulk ? { security_group_rules: views } : { security_group_rule: views[0] };
  }

  @Operation({
    service: 'network',
    method: 'DELETE',
    path: '/v2.0/security-group-rules/:id',
    policy: 'authenticated',
    status: 204,
  })
  async remove(call: Call) {
    const rows = await this.core.fresh();
    const row = await visible(securityGroupRuleKind, rows, call, call.params.id ?? '');
    call.enforce('delete_security_group_rule', await securityGroupRuleKind.target(rows, row));
    const { securityGroupId, projectId, id } = row;
    await removeRule(this.core, securityGroupId, projectId as ProjectId, id, call.context());
    return new Reply(undefined);
  }
}
