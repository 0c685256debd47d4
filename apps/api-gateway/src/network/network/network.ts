import {
  conflict,
  type NetworkAttributes,
  type NetworkEvent,
  type NetworkId,
  networkEvents,
  type ProjectId,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import { networkNotFound } from '../common/errors.js';
import { changesOf, checkRevision, sameTags, type TaggedCommand } from '../common/revision.js';

export interface Network {
  readonly id: NetworkId | null;
  readonly projectId: ProjectId;
  readonly attributes: NetworkAttributes;
  readonly tags: readonly string[];
  /** Neutron's `revision_number`: 1 when made, one more with each change. */
  readonly revision: number;
  readonly deleted: boolean;
}

export type NetworkCommand =
  | {
      readonly type: 'create';
      readonly networkId: NetworkId;
      readonly projectId: ProjectId;
      readonly attributes: NetworkAttributes;
    }
  | { readonly type: 'abandon'; readonly networkId: NetworkId }
  | {
      readonly type: 'change';
      readonly networkId: NetworkId;
      readonly changes: Partial<NetworkAttributes>;
      readonly ifRevision?: number | undefined;
    }
  | ({ readonly networkId: NetworkId } & TaggedCommand)
  | { readonly type: 'delete'; readonly networkId: NetworkId; readonly ifRevision?: number | undefined };

export const noNetwork: Network = {
  id: null,
  projectId: '' as ProjectId,
  attributes: {} as NetworkAttributes,
  tags: [],
  revision: 0,
  deleted: false,
};

const decide = (command: NetworkCommand, network: Network): NetworkEvent[] => {
  const { networkId } = command;
  if (command.type === 'create') {
    if (network.deleted) throw conflict(`Network ${networkId} was deleted.`);
    if (network.id !== null) return [];
    const { projectId, attributes } = command;
    return [{ type: 'NetworkCreated', data: { networkId, projectId, attributes } }];
  }
  if (command.type === 'abandon')
    return network.id !== null || network.deleted ? [] : [{ type: 'NetworkCreateAbandoned', data: { networkId } }];
  if (command.type === 'delete' && network.deleted) return [];
  if (network.id === null || network.deleted) throw networkNotFound(networkId);
  switch (command.type) {
    case 'change': {
      checkRevision(network.revision, command.ifRevision);
      const changes = changesOf(network.attributes, command.changes);
      return changes ? [{ type: 'NetworkChanged', data: { networkId, changes } }] : [];
    }
    case 'tag':
      checkRevision(network.revision, command.ifRevision);
      return sameTags(network.tags, command.tags)
        ? []
        : [{ type: 'NetworkTagged', data: { networkId, tags: [...command.tags] } }];
    case 'delete':
      checkRevision(network.revision, command.ifRevision);
      return [{ type: 'NetworkDeleted', data: { networkId } }];
  }
};

export const evolveNetwork = (network: Network, event: NetworkEvent): Network => {
  const revision = network.revision + 1;
  switch (event.type) {
    case 'NetworkCreated':
      return {
        ...network,
        id: event.data.networkId,
        projectId: event.data.projectId,
        attributes: event.data.attributes,
        revision,
      };
    case 'NetworkChanged':
      return {
        ...network,
        attributes: { ...network.attributes, ...event.data.changes } as NetworkAttributes,
        revision,
      };
    case 'NetworkTagged':
      return { ...network, tags: event.data.tags, revision };
    case 'NetworkCreateAbandoned':
    case 'NetworkDeleted':
      return { ...network, deleted: true, revision };
  }
};

export const network: Aggregate<Network, NetworkCommand, NetworkEvent> = {
  events: networkEvents,
  initial: noNetwork,
  decide,
  evolve: evolveNetwork,
};
