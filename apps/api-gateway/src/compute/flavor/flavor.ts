import {
  conflict,
  type EventData,
  type FlavorEvent,
  type FlavorId,
  flavorEvents,
  notFound,
  type ProjectId,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';

type Offer = EventData<typeof flavorEvents, 'FlavorCreated'>;

export type FlavorCommand =
  | { readonly type: 'create'; readonly flavor: Offer }
  | { readonly type: 'describe'; readonly flavorId: FlavorId; readonly description: string | null }
  | {
      readonly type: 'setExtraSpecs';
      readonly flavorId: FlavorId;
      readonly extraSpecs: Readonly<Record<string, string>>;
    }
  | { readonly type: 'removeExtraSpec'; readonly flavorId: FlavorId; readonly key: string }
  /** `refusePublic`: from 2.7 on a public flavor takes no access list. */
  | {
      readonly type: 'grant';
      readonly flavorId: FlavorId;
      readonly projectId: ProjectId;
      readonly refusePublic: boolean;
    }
  | { readonly type: 'revoke'; readonly flavorId: FlavorId; readonly projectId: ProjectId }
  | { readonly type: 'delete'; readonly flavorId: FlavorId };

interface Flavor {
  readonly name: string;
  readonly isPublic: boolean;
  readonly description: string | null;
  readonly extraSpecs: Readonly<Record<string, string>>;
  readonly access: readonly string[];
}
type Catalog = ReadonlyMap<string, Flavor>;

export const flavorNotFound = (id: string) => notFound(`Flavor ${id} could not be found.`);
export const extraSpecNotFound = (id: string, key: string) =>
  notFound(`Flavor ${id} has no extra specs with key ${key}.`);

const decide = (command: FlavorCommand, flavors: Catalog): FlavorEvent[] => {
  if (command.type === 'create') {
    const { flavorId, name } = command.flavor;
    for (const f of flavors.values()) if (f.name === name) throw conflict(`Flavor with name ${name} already exists.`);
    if (flavors.has(flavorId)) throw conflict(`Flavor with ID ${flavorId} already exists.`);
    return [{ type: 'FlavorCreated', data: command.flavor }];
  }
  const { flavorId } = command;
  const flavor = flavors.get(flavorId);
  if (!flavor) throw flavorNotFound(flavorId);
  switch (command.type) {
    case 'describe':
      if (flavor.description === command.description) return [];
      return [{ type: 'FlavorDescriptionChanged', data: { flavorId, description: command.description } }];
    case 'setExtraSpecs': {
      const news = Object.entries(command.extraSpecs).filter(([key, value]) => flavor.extraSpecs[key] !== value);
      return news.length === 0
        ? []
        : [{ type: 'FlavorExtraSpecsSet', data: { flavorId, extraSpecs: Object.fromEntries(news) } }];
    }
    case 'removeExtraSpec':
      if (!Object.hasOwn(flavor.extraSpecs, command.key)) throw extraSpecNotFound(flavorId, command.key);
      return [{ type: 'FlavorExtraSpecRemoved', data: { flavorId, key: command.key } }];
    case 'grant':
      if (flavor.isPublic && command.refusePublic) throw conflict('Can not add access to a public flavor.');
      if (flavor.access.includes(command.projectId))
        throw conflict(
          `Flavor access already exists for flavor ${flavorId} and project ${command.projectId} combination.`,
        );
      return [{ type: 'FlavorAccessGranted', data: { flavorId, projectId: command.projectId } }];
    case 'revoke':
      if (!flavor.access.includes(command.projectId))
        throw notFound(`Flavor access not found for ${flavorId} / ${command.projectId} combination.`);
      return [{ type: 'FlavorAccessRevoked', data: { flavorId, projectId: command.projectId } }];
    case 'delete':
      return [{ type: 'FlavorDeleted', data: { flavorId } }];
  }
};

const evolve = (flavors: Catalog, event: FlavorEvent): Catalog => {
  const { flavorId } = event.data;
  const next = new Map(flavors);
  if (event.type === 'FlavorCreated') {
    const { name, isPublic, description } = event.data;
    return next.set(flavorId, { name, isPublic, description, extraSpecs: {}, access: [] });
  }
  const flavor = flavors.get(flavorId);
  if (!flavor) return flavors;
  switch (event.type) {
    case 'FlavorDescriptionChanged':
      return next.set(flavorId, { ...flavor, description: event.data.description });
    case 'FlavorExtraSpecsSet':
      return next.set(flavorId, { ...flavor, extraSpecs: { ...flavor.extraSpecs, ...event.data.extraSpecs } });
    case 'FlavorExtraSpecRemoved':
      return next.set(flavorId, { ...flavor, extraSpecs: without(flavor.extraSpecs, event.data.key) });
    case 'FlavorAccessGranted':
      return next.set(flavorId, { ...flavor, access: [...flavor.access, event.data.projectId] });
    case 'FlavorAccessRevoked':
      return next.set(flavorId, { ...flavor, access: flavor.access.filter((p) => p !== event.data.projectId) });
    case 'FlavorDeleted':
      next.delete(flavorId);
      return next;
  }
};

export const without = <T>(record: Readonly<Record<string, T>>, key: string): Record<string, T> =>
  Object.fromEntries(Object.entries(record).filter(([k]) => k !== key));

/** The rules of the one stream of all flavors. */
export const flavorAggregate: Aggregate<Catalog, FlavorCommand, FlavorEvent> = {
  events: flavorEvents,
  initial: new Map(),
  decide,
  evolve,
};
