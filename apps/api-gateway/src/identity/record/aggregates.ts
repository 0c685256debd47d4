import {
  type AccessRuleAttributes,
  type ApplicationCredentialAttributes,
  accessRuleEvents,
  applicationCredentialEvents,
  type CatalogServiceAttributes,
  type CredentialAttributes,
  catalogServiceEvents,
  conflict,
  credentialEvents,
  type DomainEvent,
  type EndpointAttributes,
  endpointEvents,
  type GroupAttributes,
  groupEvents,
  type IdentityDomainAttributes,
  type Instant,
  identityDomainEvents,
  type ProjectAttributes,
  projectEvents,
  type RegionAttributes,
  type RoleAttributes,
  regionEvents,
  roleEvents,
  type UserAttributes,
  userEvents,
  type VaultRef,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import type { z } from 'zod';
import {
  decideRecord,
  evolveRecord,
  missing,
  nothing,
  type RecordCommand,
  type RecordNames,
  type RecordState,
  recordAggregate,
} from './record.js';

export const domainNames: RecordNames = {
  label: 'domain',
  created: 'IdentityDomainCreated',
  updated: 'IdentityDomainUpdated',
  deleted: 'IdentityDomainDeleted',
};
export const domains = recordAggregate<IdentityDomainAttributes>(identityDomainEvents, domainNames);

export const projectNames: RecordNames = {
  label: 'project',
  created: 'ProjectCreated',
  updated: 'ProjectUpdated',
  deleted: 'ProjectDeleted',
};
export const projects = recordAggregate<ProjectAttributes>(projectEvents, projectNames);

export const storedCredentialNames: RecordNames = {
  label: 'credential',
  created: 'CredentialCreated',
  updated: 'CredentialUpdated',
  deleted: 'CredentialDeleted',
};
export const storedCredentials = recordAggregate<CredentialAttributes>(credentialEvents, storedCredentialNames);

export const accessRuleNames: RecordNames = {
  label: 'Access Rule',
  created: 'AccessRuleCreated',
  updated: '',
  deleted: 'AccessRuleDeleted',
};
export const accessRules = recordAggregate<AccessRuleAttributes>(accessRuleEvents, accessRuleNames);

export const registeredLimitNames: RecordNames = {
  label: 'registered limit',
  created: 'RegisteredLimitCreated',
  updated: 'RegisteredLimitUpdated',
  deleted: 'RegisteredLimitDeleted',
};
export const limitNames: RecordNames = {
  label: 'limit',
  created: 'LimitCreated',
  updated: 'LimitUpdated',
  deleted: 'LimitDeleted',
};

export const credentialNames: RecordNames = {
  label: 'Application Credential',
  created: 'ApplicationCredentialCreated',
  updated: '',
  deleted: 'ApplicationCredentialDeleted',
};
export const applicationCredentials = recordAggregate<ApplicationCredentialAttributes>(
  applicationCredentialEvents,
  credentialNames,
);

export const regionNames: RecordNames = {
  label: 'region',
  created: 'RegionCreated',
  updated: 'RegionUpdated',
  deleted: 'RegionDeleted',
};
export const regions = recordAggregate<z.infer<typeof RegionAttributes>>(regionEvents, regionNames);

export const serviceNames: RecordNames = {
  label: 'service',
  created: 'CatalogServiceCreated',
  updated: 'CatalogServiceUpdated',
  deleted: 'CatalogServiceDeleted',
};
export const services = recordAggregate<z.infer<typeof CatalogServiceAttributes>>(catalogServiceEvents, serviceNames);

export const endpointNames: RecordNames = {
  label: 'endpoint',
  created: 'EndpointCreated',
  updated: 'EndpointUpdated',
  deleted: 'EndpointDeleted',
};
export const endpoints = recordAggregate<z.infer<typeof EndpointAttributes>>(endpointEvents, endpointNames);

export const userNames: RecordNames = {
  label: 'user',
  created: 'UserCreated',
  updated: 'UserUpdated',
  deleted: 'UserDeleted',
};
export type UserCommand =
  | RecordCommand<UserAttributes>
  | {
      readonly type: 'setPassword';
      readonly id: string;
      readonly password: VaultRef;
      readonly at: Instant;
      readonly byUser: boolean;
    };
export const users: Aggregate<RecordState<UserAttributes>, UserCommand, DomainEvent> = {
  events: userEvents,
  initial: nothing,
  decide: (command, state) => {
    if (command.type !== 'setPassword') return decideRecord(userNames, command, state);
    const { type: _, ...data } = command;
    if (state.status !== 'present') throw missing('user', command.id);
    return [{ type: 'UserPasswordSet', data }];
  },
  evolve: (state, event) => evolveRecord(userNames, state, event),
};

export const groupNames: RecordNames = {
  label: 'group',
  created: 'GroupCreated',
  updated: 'GroupUpdated',
  deleted: 'GroupDeleted',
};
export interface GroupState extends RecordState<GroupAttributes> {
  readonly members: readonly string[];
}
export type GroupCommand =
  | RecordCommand<GroupAttributes>
  | { readonly type: 'addMember' | 'removeMember'; readonly id: string; readonly userId: string };
export const groups: Aggregate<GroupState, GroupCommand, DomainEvent> = {
  events: groupEvents,
  initial: { ...nothing, members: [] },
  decide: (command, state) => {
    if (command.type !== 'addMember' && command.type !== 'removeMember')
      return decideRecord(groupNames, command as RecordCommand<GroupAttributes>, state);
    const { type, id, userId } = command;
    if (state.status !== 'present') throw missing('group', id);
    if (state.members.includes(userId) === (type === 'addMember')) return [];
    return [{ type: type === 'addMember' ? 'GroupMemberAdded' : 'GroupMemberRemoved', data: { id, userId } }];
  },
  evolve: (state, event) => {
    const { userId } = event.data as { userId: string };
    if (event.type === 'GroupMemberAdded') return { ...state, members: [...state.members, userId] };
    if (event.type === 'GroupMemberRemoved') return { ...state, members: state.members.filter((m) => m !== userId) };
    return { ...evolveRecord(groupNames, state, event), members: event.type === 'GroupDeleted' ? [] : state.members };
  },
};

export const roleNames: RecordNames = {
  label: 'role',
  created: 'RoleCreated',
  updated: 'RoleUpdated',
  deleted: 'RoleDeleted',
};
export interface RoleState extends RecordState<RoleAttributes> {
  readonly implies: readonly string[];
}
export type RoleCommand =
  | RecordCommand<RoleAttributes>
  | { readonly type: 'imply' | 'noLongerImply'; readonly id: string; readonly impliedId: string };
export const roles: Aggregate<RoleState, RoleCommand, DomainEvent> = {
  events: roleEvents,
  initial: { ...nothing, implies: [] },
  decide: (command, state) => {
    if (command.type !== 'imply' && command.type !== 'noLongerImply')
      return decideRecord(roleNames, command as RecordCommand<RoleAttributes>, state);
    const { type, id, impliedId } = command;
    if (state.status !== 'present') throw missing('role', id);
    if (id === impliedId) throw conflict(`Role ${id} cannot imply itself.`);
    if (state.implies.includes(impliedId) === (type === 'imply')) return [];
    return [{ type: type === 'imply' ? 'RoleImplied' : 'RoleNoLongerImplied', data: { id, impliedId } }];
  },
  evolve: (state, event) => {
    const { impliedId } = event.data as { impliedId: string };
    if (event.type === 'RoleImplied') return { ...state, implies: [...state.implies, impliedId] };
    if (event.type === 'RoleNoLongerImplied')
      return { ...state, implies: state.implies.filter((r) => r !== impliedId) };
    return { ...evolveRecord(roleNames, state, event), implies: event.type === 'RoleDeleted' ? [] : state.implies };
  },
};
