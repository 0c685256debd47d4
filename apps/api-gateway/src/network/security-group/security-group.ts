import {
  conflict,
  type EventData,
  type ProjectId,
  type SecurityGroupEvent,
  type SecurityGroupId,
  type SecurityGroupRule,
  type SecurityGroupRuleId,
  securityGroupEvents,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import { neutronError, ruleExists, securityGroupNotFound, securityGroupRuleNotFound } from '../common/errors.js';
import { checkRevision, sameTags, type TaggedCommand } from '../common/revision.js';
import { sameRule } from './rules.js';

type Created = EventData<typeof securityGroupEvents, 'SecurityGroupCreated'>;

export interface SecurityGroup {
  readonly id: SecurityGroupId | null;
  readonly projectId: ProjectId;
  readonly name: string;
  readonly description: string;
  readonly stateful: boolean;
  readonly isDefault: boolean;
  readonly rules: readonly SecurityGroupRule[];
  /** Ids that no rule may have any more. */
  readonly abandonedRules: readonly SecurityGroupRuleId[];
  readonly tags: readonly string[];
  readonly revision: number;
  readonly deleted: boolean;
}

export type SecurityGroupCommand =
  | ({ readonly type: 'create' } & Created)
  | { readonly type: 'abandon'; readonly securityGroupId: SecurityGroupId }
  | { readonly type: 'abandonRule'; readonly securityGroupId: SecurityGroupId; readonly ruleId: SecurityGroupRuleId }
  | {
      readonly type: 'change';
      readonly securityGroupId: SecurityGroupId;
      readonly name?: string | undefined;
      readonly description?: string | undefined;
      readonly stateful?: boolean | undefined;
      readonly ifRevision?: number | undefined;
    }
  | ({ readonly securityGroupId: SecurityGroupId } & TaggedCommand)
  | { readonly type: 'addRule'; readonly securityGroupId: SecurityGroupId; readonly rule: SecurityGroupRule }
  | { readonly type: 'removeRule'; readonly securityGroupId: SecurityGroupId; readonly ruleId: SecurityGroupRuleId }
  | {
      readonly type: 'delete';
      readonly securityGroupId: SecurityGroupId;
      /** Whether the default group may go; only an administrator's command says so. */
      readonly evenDefault: boolean;
      readonly ifRevision?: number | undefined;
    };

export const noSecurityGroup: SecurityGroup = {
  id: null,
  projectId: '' as ProjectId,
  name: '',
  description: '',
  stateful: true,
  isDefault: false,
  rules: [],
  abandonedRules: [],
  tags: [],
  revision: 0,
  deleted: false,
};

const decide = (command: SecurityGroupCommand, group: SecurityGroup): SecurityGroupEvent[] => {
  const { securityGroupId } = command;
  if (command.type === 'create') {
    if (group.id !== null && !group.deleted) return [];
    if (group.deleted && !command.isDefault) throw conflict(`Security group ${securityGroupId} was deleted.`);
    const { type: _, ...data } = command;
    return [{ type: 'SecurityGroupCreated', data }];
  }
  if (command.type === 'abandon')
    return group.id !== null || group.deleted
      ? []
      : [{ type: 'SecurityGroupCreateAbandoned', data: { securityGroupId } }];
  if (command.type === 'abandonRule') {
    const { ruleId } = command;
    const cannotCome = group.id === null || group.deleted || group.abandonedRules.includes(ruleId);
    return cannotCome || group.rules.some((r) => r.id === ruleId)
      ? []
      : [{ type: 'SecurityGroupRuleAbandoned', data: { securityGroupId, ruleId } }];
  }
  if (command.type === 'delete' && group.deleted) return [];
  if (group.id === null || group.deleted) throw securityGroupNotFound(securityGroupId);
  switch (command.type) {
    case 'change': {
      checkRevision(group.revision, command.ifRevision);
      // Ports get the default group unasked, and none may have a stateless one.
      const isOther = command.name !== undefined && command.name !== group.name;
      if (group.isDefault && (isOther || command.stateful === false))
        throw neutronError(
          'conflict',
          'SecurityGroupCannotUpdateDefault',
          'Updating default security group not allowed.',
        );
      const changes = {
        ...(command.name !== undefined && command.name !== group.name ? { name: command.name } : {}),
        ...(command.description !== undefined && command.description !== group.description
          ? { description: command.description }
          : {}),
        ...(command.stateful !== undefined && command.stateful !== group.stateful
          ? { stateful: command.stateful }
          : {}),
      };
      return Object.keys(changes).length === 0
        ? []
        : [{ type: 'SecurityGroupChanged', data: { securityGroupId, ...changes } }];
    }
    case 'tag':
      checkRevision(group.revision, command.ifRevision);
      return sameTags(group.tags, command.tags)
        ? []
        : [{ type: 'SecurityGroupTagged', data: { securityGroupId, tags: [...command.tags] } }];
    case 'addRule': {
      const { rule } = command;
      if (group.rules.some((r) => r.id === rule.id)) return [];
      if (group.abandonedRules.includes(rule.id)) throw conflict(`Security group rule ${rule.id} was given up.`);
      const same = group.rules.find((r) => sameRule(r, rule));
      if (same) throw ruleExists(same.id);
      return [{ type: 'SecurityGroupRuleAdded', data: { securityGroupId, projectId: group.projectId, rule } }];
    }
    case 'removeRule':
      if (!group.rules.some((r) => r.id === command.ruleId)) throw securityGroupRuleNotFound(command.ruleId);
      return [{ type: 'SecurityGroupRuleRemoved', data: { securityGroupId, ruleId: command.ruleId } }];
    case 'delete':
      checkRevision(group.revision, command.ifRevision);
      if (group.isDefault && !command.evenDefault)
        throw neutronError(
          'conflict',
          'SecurityGroupCannotRemoveDefault',
          'Insufficient rights for removing default security group.',
        );
      return [{ type: 'SecurityGroupDeleted', data: { securityGroupId, ruleIds: group.rules.map((r) => r.id) } }];
  }
};

export const evolveSecurityGroup = (group: SecurityGroup, event: SecurityGroupEvent): SecurityGroup => {
  const revision = group.revision + 1;
  switch (event.type) {
    case 'SecurityGroupCreated': {
      const { securityGroupId, ...rest } = event.data;
      return { ...noSecurityGroup, ...rest, id: securityGroupId, revision };
    }
    case 'SecurityGroupChanged': {
      const { name, description, stateful } = event.data;
      return {
        ...group,
        name: name ?? group.name,
        description: description ?? group.description,
        stateful: stateful ?? group.stateful,
        revision,
      };
    }
    case 'SecurityGroupTagged':
      return { ...group, tags: event.data.tags, revision };
    case 'SecurityGroupRuleAdded':
      return { ...group, rules: [...group.rules, event.data.rule], revision };
    case 'SecurityGroupRuleAbandoned':
      return { ...group, abandonedRules: [...group.abandonedRules, event.data.ruleId], revision };
    case 'SecurityGroupRuleRemoved':
      return { ...group, rules: group.rules.filter((r) => r.id !== event.data.ruleId), revision };
    case 'SecurityGroupCreateAbandoned':
    case 'SecurityGroupDeleted':
      return { ...group, deleted: true, revision };
  }
};

export const securityGroup: Aggregate<SecurityGroup, SecurityGroupCommand, SecurityGroupEvent> = {
  events: securityGroupEvents,
  initial: noSecurityGroup,
  decide,
  evolve: evolveSecurityGroup,
};
