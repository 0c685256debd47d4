import {
  conflict,
  type EventData,
  type NetworkId,
  type ProjectId,
  type SubnetAttributes,
  type SubnetEvent,
  type SubnetId,
  subnetEvents,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import { subnetNotFound } from '../common/errors.js';
import { changesOf, checkRevision, sameTags, type TaggedCommand } from '../common/revision.js';

type Created = EventData<typeof subnetEvents, 'SubnetCreated'>;

export interface Subnet {
  readonly id: SubnetId | null;
  readonly networkId: NetworkId;
  readonly projectId: ProjectId;
  readonly version: 4 | 6;
  readonly cidr: string;
  readonly ipv6AddressMode: Created['ipv6AddressMode'];
  readonly ipv6RaMode: Created['ipv6RaMode'];
  readonly attributes: SubnetAttributes;
  readonly tags: readonly string[];
  readonly revision: number;
  readonly deleted: boolean;
}

export type SubnetCommand =
  | ({ readonly type: 'create' } & Created)
  | { readonly type: 'abandon'; readonly subnetId: SubnetId }
  | {
      readonly type: 'change';
      readonly subnetId: SubnetId;
      readonly changes: Partial<SubnetAttributes>;
      readonly ifRevision?: number | undefined;
    }
  | ({ readonly subnetId: SubnetId } & TaggedCommand)
  | { readonly type: 'delete'; readonly subnetId: SubnetId; readonly ifRevision?: number | undefined };

export const noSubnet: Subnet = {
  id: null,
  networkId: '' as NetworkId,
  projectId: '' as ProjectId,
  version: 4,
  cidr: '',
  ipv6AddressMode: null,
  ipv6RaMode: null,
  attributes: {} as SubnetAttributes,
  tags: [],
  revision: 0,
  deleted: false,
};

const decide = (command: SubnetCommand, subnet: Subnet): SubnetEvent[] => {
  const { subnetId } = command;
  if (command.type === 'create') {
    if (subnet.deleted) throw conflict(`Subnet ${subnetId} was deleted.`);
    if (subnet.id !== null) return [];
    const { type: _, ...data } = command;
    return [{ type: 'SubnetCreated', data }];
  }
  if (command.type === 'abandon')
    return subnet.id !== null || subnet.deleted ? [] : [{ type: 'SubnetCreateAbandoned', data: { subnetId } }];
  if (command.type === 'delete' && subnet.deleted) return [];
  if (subnet.id === null || subnet.deleted) throw subnetNotFound(subnetId);
  checkRevision(subnet.revision, command.ifRevision);
  switch (command.type) {
    case 'change': {
      const changes = changesOf(subnet.attributes, command.changes);
      return changes ? [{ type: 'SubnetChanged', data: { subnetId, changes } }] : [];
    }
    case 'tag':
      return sameTags(subnet.tags, command.tags)
        ? []
        : [{ type: 'SubnetTagged', data: { subnetId, tags: [...command.tags] } }];
    case 'delete':
      return [{ type: 'SubnetDeleted', data: { subnetId } }];
  }
};

export const evolveSubnet = (subnet: Subnet, event: SubnetEvent): Subnet => {
  const revision = subnet.revision + 1;
  switch (event.type) {
    case 'SubnetCreated': {
      const { subnetId, ...rest } = event.data;
      return { ...subnet, ...rest, id: subnetId, revision };
    }
    case 'SubnetChanged':
      return { ...subnet, attributes: { ...subnet.attributes, ...event.data.changes } as SubnetAttributes, revision };
    case 'SubnetTagged':
      return { ...subnet, tags: event.data.tags, revision };
    case 'SubnetCreateAbandoned':
    case 'SubnetDeleted':
      return { ...subnet, deleted: true, revision };
  }
};

export const subnet: Aggregate<Subnet, SubnetCommand, SubnetEvent> = {
  events: subnetEvents,
  initial: noSubnet,
  decide,
  evolve: evolveSubnet,
};
