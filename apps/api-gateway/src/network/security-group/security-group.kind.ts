import type { SecurityGroupRule } from '@omnivisor/contracts';
import { type Kind, moment, ownOrAll } from '../common/collection.js';
import { securityGroupNotFound, securityGroupRuleNotFound } from '../common/errors.js';
import { rangeOf } from './rules.js';
import {
  type SecurityGroupRow,
  type SecurityGroupRuleRow,
  securityGroupRuleTable,
  securityGroupTable,
} from './security-group.projection.js';

/** A rule as Neutron shows it. */
export const ruleView = (rule: SecurityGroupRule, groupId: string, projectId: string, createdAt: string) => ({
  id: rule.id,
  tenant_id: projectId,
  project_id: projectId,
  security_group_id: groupId,
  ethertype: rule.ethertype,
  direction: rule.direction,
  protocol: rule.protocol,
  port_range_min: rule.portMin,
  port_range_max: rule.portMax,
  remote_ip_prefix: rule.remotePrefix,
  remote_address_group_id: null,
  normalized_cidr: rangeOf(rule),
  remote_group_id: rule.remoteGroup,
  standard_attr_id: 0,
  description: rule.description,
  tags: [],
  created_at: moment(createdAt),
  updated_at: moment(createdAt),
  revision_number: 0,
});

export const securityGroupKind: Kind<SecurityGroupRow> = {
  singular: 'security_group',
  plural: 'security-groups',
  table: securityGroupTable,
  notFound: securityGroupNotFound,
  candidates: (rows, call) => ownOrAll(securityGroupTable, rows, call),
  target: async (_, row) => ({ project_id: row.projectId, tenant_id: row.projectId }),
  view: async (rows, row) => {
    const rules = await rows.getMany(
      securityGroupRuleTable,
      row.rules.map((r) => r.id),
    );
    return {
      id: row.id,
      name: row.name,
      stateful: row.stateful,
      tenant_id: row.projectId,
      project_id: row.projectId,
      description: row.description,
      shared: false,
      security_group_rules: row.rules.map((r) =>
        ruleView(r, row.id, row.projectId, rules.get(r.id)?.createdAt ?? row.createdAt),
      ),
      tags: row.tags,
      created_at: moment(row.createdAt),
      updated_at: moment(row.updatedAt),
      revision_number: row.revision,
    };
  },
};

export const securityGroupRuleKind: Kind<SecurityGroupRuleRow> = {
  singular: 'security_group_rule',
  plural: 'security-group-rules',
  table: securityGroupRuleTable,
  notFound: securityGroupRuleNotFound,
  candidates: (rows, call) => ownOrAll(securityGroupRuleTable, rows, call),
  target: async (_, row) => ({
    project_id: row.projectId,
    tenant_id: row.projectId,
    'security_group:project_id': row.projectId,
  }),
  view: async (_, row) => ruleView(row, row.securityGroupId, row.projectId, row.createdAt),
};
