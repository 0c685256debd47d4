import {
  conflict,
  type EventData,
  type HostId,
  type NetworkId,
  type PortAttributes,
  type PortEvent,
  type PortId,
  type PortOutline,
  type ProjectId,
  portEvents,
  type SecurityGroupId,
  type ServerId,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import { groupsNotApplicable, neutronError, portInUse, portNotFound } from '../common/errors.js';
import { changesOf, checkRevision, sameTags, type TaggedCommand } from '../common/revision.js';

type Created = EventData<typeof portEvents, 'PortCreated'>;

export interface Port {
  readonly id: PortId | null;
  readonly networkId: NetworkId;
  readonly projectId: ProjectId;
  readonly attributes: PortAttributes;
  /** The server whose build made it. */
  readonly madeFor: ServerId | null;
  /** The server that has it. */
  readonly serverId: ServerId | null;
  /** Name that DHCP gives the guest. */
  readonly hostname: string;
  readonly host: { readonly id: HostId; readonly name: string } | null;
  readonly tags: readonly string[];
  readonly revision: number;
  readonly deleted: boolean;
}

export type GroupChange = 'add' | 'remove';

export type PortCommand =
  | ({ readonly type: 'create' } & Created)
  | { readonly type: 'abandon'; readonly portId: PortId }
  | {
      readonly type: 'change';
      readonly portId: PortId;
      readonly changes: Partial<PortAttributes>;
      readonly ifRevision?: number | undefined;
    }
  /** One more group for a port of a server, or one less; whatever else it has, it keeps. */
  | {
      readonly type: 'regroup';
      readonly portId: PortId;
      readonly serverId: ServerId;
      readonly change: GroupChange;
      readonly securityGroupId: SecurityGroupId;
    }
  | ({ readonly portId: PortId } & TaggedCommand)
  | {
      readonly type: 'attach';
      readonly portId: PortId;
      readonly serverId: ServerId;
      readonly deviceOwner: string;
      readonly hostname: string;
    }
  | {
      readonly type: 'bind';
      readonly portId: PortId;
      readonly serverId: ServerId;
      readonly hostId: HostId;
      readonly hostName: string;
    }
  | { readonly type: 'detach'; readonly portId: PortId; readonly serverId: ServerId }
  | { readonly type: 'delete'; readonly portId: PortId; readonly ifRevision?: number | undefined };

export const noPort: Port = {
  id: null,
  networkId: '' as NetworkId,
  projectId: '' as ProjectId,
  attributes: {} as PortAttributes,
  madeFor: null,
  serverId: null,
  hostname: '',
  host: null,
  tags: [],
  revision: 0,
  deleted: false,
};

/** What network, groups and host see of a port. */
export const outlineOf = (port: Port): PortOutline => ({
  networkId: port.networkId,
  securityGroups: [...port.attributes.securityGroups],
  mac: port.attributes.mac,
  addresses: port.attributes.fixedIps.map((ip) => ip.address),
  hostname: port.hostname,
  hostId: port.host?.id ?? null,
});

/** @throws DomainError `conflict` for what needs port security on a port without it */
export const checkSecurity = (
  a: Pick<PortAttributes, 'portSecurity' | 'securityGroups' | 'allowedAddressPairs'>,
): void => {
  if (a.portSecurity) return;
  if (a.securityGroups.length > 0)
    throw neutronError(
      'conflict',
      'PortSecurityPortHasSecurityGroup',
      'Port has security group associated. Cannot disable port security or IP address until security group is removed.',
    );
  if (a.allowedAddressPairs.length > 0)
    throw neutronError(
      'conflict',
      'AddressPairAndPortSecurityRequired',
      'Port Security must be enabled in order to have allowed address pairs on a port.',
    );
};

/** The groups of a port with one more, or without it. @throws DomainError `invalid` when it cannot have any */
export const regrouped = (
  { securityGroups, portSecurity, fixedIps }: PortAttributes,
  change: GroupChange,
  group: SecurityGroupId,
): SecurityGroupId[] => {
  if (change === 'remove') return securityGroups.filter((id) => id !== group);
  if (!portSecurity || fixedIps.length === 0) throw groupsNotApplicable();
  return [...new Set([...securityGroups, group])];
};

const change = (port: Port, portId: PortId, wanted: Partial<PortAttributes>): PortEvent[] => {
  const changes = changesOf(port.attributes, wanted);
  if (!changes) return [];
  const attributes = { ...port.attributes, ...changes };
  const after = outlineOf({ ...port, attributes });
  return [{ type: 'PortChanged', data: { portId, changes, before: outlineOf(port), after } }];
};

const decide = (command: PortCommand, port: Port): PortEvent[] => {
  const { portId } = command;
  switch (command.type) {
    case 'create': {
      if (port.deleted) throw conflict(`Port ${portId} was given up.`);
      if (port.id !== null) return [];
      const { type: _, ...data } = command;
      return [{ type: 'PortCreated', data }];
    }
    case 'abandon':
      return port.id !== null || port.deleted ? [] : [{ type: 'PortCreateAbandoned', data: { portId } }];
    case 'delete':
      if (port.deleted) return [];
      break;
    case 'regroup':
    case 'detach':
      if (port.deleted || port.serverId !== command.serverId) return [];
      break;
    default:
      break;
  }
  if (port.id === null || port.deleted) throw portNotFound(portId);
  const before = outlineOf(port);
  switch (command.type) {
    case 'change':
      checkRevision(port.revision, command.ifRevision);
      checkSecurity({ ...port.attributes, ...command.changes });
      return change(port, portId, command.changes);
    case 'regroup':
      return change(port, portId, {
        securityGroups: regrouped(port.attributes, command.change, command.securityGroupId),
      });
    case 'tag':
      checkRevision(port.revision, command.ifRevision);
      return sameTags(port.tags, command.tags)
        ? []
        : [{ type: 'PortTagged', data: { portId, tags: [...command.tags] } }];
    case 'attach': {
      if (port.serverId === command.serverId) return [];
      if (port.serverId !== null || port.attributes.deviceId !== '')
        throw portInUse(portId, port.networkId, port.serverId ?? port.attributes.deviceId);
      const { serverId, deviceOwner, hostname } = command;
      const after = { ...before, hostname };
      return [{ type: 'PortAttached', data: { portId, serverId, deviceOwner, hostname, before, after } }];
    }
    case 'bind': {
      const { hostId, hostName } = command;
      if (port.serverId !== command.serverId) throw portInUse(portId, port.networkId, port.serverId ?? '');
      if (port.host?.id === hostId) return [];
      return [{ type: 'PortBound', data: { portId, hostId, hostName, before, after: { ...before, hostId } } }];
    }
    case 'detach':
      return [{ type: 'PortDetached', data: { portId, before, after: { ...before, hostname: '', hostId: null } } }];
    case 'delete':
      checkRevision(port.revision, command.ifRevision);
      return [{ type: 'PortDeleted', data: { portId, before } }];
  }
};

const detached = { deviceId: '', deviceOwner: '' };

export const evolvePort = (port: Port, event: PortEvent): Port => {
  const revision = port.revision + 1;
  switch (event.type) {
    case 'PortCreated': {
      const { portId: id, networkId, projectId, attributes, madeFor, hostname, host = null } = event.data;
      const serverId = madeFor;
      return { ...port, id, networkId, projectId, attributes, madeFor, serverId, hostname, host, revision };
    }
    case 'PortCreateAbandoned':
      return { ...port, deleted: true, revision };
    case 'PortChanged':
      return { ...port, attributes: { ...port.attributes, ...event.data.changes } as PortAttributes, revision };
    case 'PortTagged':
      return { ...port, tags: event.data.tags, revision };
    case 'PortAttached': {
      const { serverId, deviceOwner, hostname } = event.data;
      return {
        ...port,
        serverId,
        hostname,
        attributes: { ...port.attributes, deviceId: serverId, deviceOwner },
        revision,
      };
    }
    case 'PortBound':
      return { ...port, host: { id: event.data.hostId, name: event.data.hostName }, revision };
    case 'PortDetached':
      return {
        ...port,
        serverId: null,
        host: null,
        hostname: '',
        attributes: { ...port.attributes, ...detached },
        revision,
      };
    case 'PortDeleted':
      return { ...port, deleted: true, revision };
  }
};

export const port: Aggregate<Port, PortCommand, PortEvent> = {
  events: portEvents,
  initial: noPort,
  decide,
  evolve: evolvePort,
};
