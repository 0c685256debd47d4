import {
  type Instant,
  type SecurityGroupEvent,
  type SecurityGroupId,
  type SecurityGroupRule,
  securityGroupEvents,
} from '@omnivisor/contracts';
import { type Projection, projection, type Table, table } from '@omnivisor/eventsourcing';
import { rowsOf, type Times } from '../common/rows.js';
import { evolveSecurityGroup, noSecurityGroup, type SecurityGroup } from './security-group.js';

export interface SecurityGroupRow extends SecurityGroup, Times {
  readonly id: SecurityGroupId;
  /** Groups whose members its rules name. */
  readonly remoteGroups: readonly string[];
}

export const securityGroupTable: Table<SecurityGroupRow> = table('security_groups_v2', ['projectId', 'name']);

export const securityGroupProjection: Projection<SecurityGroupRow> = rowsOf<
  SecurityGroup,
  SecurityGroupEvent,
  SecurityGroupRow
>({
  table: securityGroupTable,
  stream: securityGroupEvents.stream,
  key: (event) => event.data.securityGroupId,
  initial: noSecurityGroup,
  evolve: evolveSecurityGroup,
  row: (state, times) => ({
    ...state,
    id: state.id!,
    remoteGroups: [...new Set(state.rules.flatMap((r) => (r.remoteGroup === null ? [] : [r.remoteGroup])))],
    ...times,
  }),
});

export interface SecurityGroupRuleRow extends SecurityGroupRule {
  readonly securityGroupId: SecurityGroupId;
  readonly projectId: string;
  readonly createdAt: Instant;
}

export const securityGroupRuleTable: Table<SecurityGroupRuleRow> = table(
  'security_group_rules_v1',
  ['projectId'],
  ['securityGroupId'],
  ['remoteGroup'],
);

export const securityGroupRuleProjection = projection<SecurityGroupEvent, SecurityGroupRuleRow>(
  securityGroupRuleTable,
  {
    SecurityGroupCreated: {
      key: (e) => e.data.rules.map((r) => r.id),
      row: (_, e, key) => ({
        ...e.data.rules.find((r) => r.id === key)!,
        securityGroupId: e.data.securityGroupId,
        projectId: e.data.projectId,
        createdAt: e.recordedAt,
      }),
    },
    SecurityGroupRuleAdded: {
      key: (e) => e.data.rule.id,
      row: (_, e) => ({
        ...e.data.rule,
        securityGroupId: e.data.securityGroupId,
        projectId: e.data.projectId,
        createdAt: e.recordedAt,
      }),
    },
    SecurityGroupRuleRemoved: { key: (e) => e.data.ruleId, row: () => undefined },
    SecurityGroupDeleted: { key: (e) => e.data.ruleIds, row: () => undefined },
  },
);
