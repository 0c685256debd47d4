import {
  conflict,
  DomainError,
  forbidden,
  type ImageAttributes,
  type ImageEvent,
  type ImageId,
  invalid,
} from '@omnivisor/contracts';
import { changedProperties, type Image } from './image.js';

/** One change of a JSON patch, checked for its form. `draft` 4 does not let `add` replace what is there. */
export type ImageChange =
  | { readonly op: 'add' | 'replace'; readonly name: string; readonly value: unknown; readonly draft: 4 | 10 }
  | { readonly op: 'remove'; readonly name: string };

/** Attributes as Glance's API names them, and what we call them. */
export const ATTRIBUTE_OF = {
  name: 'name',
  owner: 'owner',
  disk_format: 'diskFormat',
  container_format: 'containerFormat',
  visibility: 'visibility',
  protected: 'protected',
  os_hidden: 'hidden',
  min_disk: 'minDisk',
  min_ram: 'minRam',
  tags: 'tags',
} as const satisfies Record<string, keyof ImageAttributes>;

export const attributeOf = (name: string): keyof ImageAttributes | undefined =>
  Object.hasOwn(ATTRIBUTE_OF, name) ? ATTRIBUTE_OF[name as keyof typeof ATTRIBUTE_OF] : undefined;

export const LIMITS = { properties: 128, tags: 128, members: 128 } as const;

const exceeded = (what: keyof typeof LIMITS, attempted: number) =>
  new DomainError(
    'tooLarge',
    `The limit has been exceeded on the number of allowed image ${what}. Attempted: ${attempted}, Maximum: ${LIMITS[what]}`,
  );

export const assertWithin = (what: keyof typeof LIMITS, count: number): void => {
  if (count > LIMITS[what]) throw exceeded(what, count);
};

export const tagSet = (tags: readonly string[]): string[] => [...new Set(tags)].sort();

/** Attribute values that pass the schema and still mean nothing. */
export const assertSensible = (attributes: Partial<ImageAttributes>): void => {
  for (const name of ['min_disk', 'min_ram'] as const) {
    const value = attributes[ATTRIBUTE_OF[name]];
    if (typeof value === 'number' && value < 0)
      throw invalid(`Invalid value '${value}' for parameter '${name}': Cannot be a negative value`);
  }
};

const assertChangeable = (image: Image, name: string, isAdmin: boolean, op: string): void => {
  if (name === 'owner' && op === 'replace' && !isAdmin) throw forbidden("Owner can't be updated by non admin.");
  if ((name === 'disk_format' || name === 'container_format') && image.status !== 'queued')
    throw forbidden(`Attribute ${name} can be only replaced for a queued image.`);
};

/** Applies the changes one after the other. @throws DomainError as Glance refuses */
export const patchImage = (
  imageId: ImageId,
  image: Image,
  changes: readonly ImageChange[],
  isAdmin: boolean,
): ImageEvent[] => {
  const attributes: Record<string, unknown> = {};
  const properties: Record<string, string | null> = {};
  for (const change of changes) {
    const { op, name } = change;
    const attribute = attributeOf(name);
    const exists = Object.hasOwn(changedProperties(image.properties, properties), name);
    if (op === 'remove') {
      if (attribute) throw forbidden(`Property ${name} may not be removed.`);
      if (!exists) throw conflict(`Property ${name} does not exist.`);
      properties[name] = null;
      continue;
    }
    if (op === 'add' && change.draft === 4 && (attribute || exists))
      throw conflict(`Property ${name} already present.`);
    if (op === 'replace' && !attribute && !exists) throw conflict(`Property ${name} does not exist.`);
    assertChangeable(image, name, isAdmin, op);
    // Adding an owner is replacing it under another name.
    if (name === 'owner' && !isAdmin) throw forbidden("Owner can't be updated by non admin.");
    if (attribute === 'tags') attributes.tags = tagSet(change.value as string[]);
    else if (attribute) attributes[attribute] = change.value;
    else properties[name] = change.value as string;
  }
  assertSensible(attributes);
  if (Array.isArray(attributes.tags)) assertWithin('tags', attributes.tags.length);
  const added = Object.values(properties).some((v) => v !== null);
  if (added) assertWithin('properties', Object.keys(changedProperties(image.properties, properties)).length);
  return updated(imageId, image, attributes, properties);
};

const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

/** The event for what really changes; none when nothing does. */
export const updated = (
  imageId: ImageId,
  image: Image,
  attributes: Partial<ImageAttributes>,
  properties: Readonly<Record<string, string | null>>,
): ImageEvent[] => {
  const newAttributes = Object.fromEntries(
    Object.entries(attributes).filter(([k, v]) => !same(v, image.attributes[k as keyof ImageAttributes])),
  );
  const newProperties = Object.fromEntries(
    Object.entries(properties).filter(([k, v]) => v !== (image.properties[k] ?? null)),
  );
  if (Object.keys(newAttributes).length + Object.keys(newProperties).length === 0) return [];
  return [{ type: 'ImageUpdated', data: { imageId, attributes: newAttributes, properties: newProperties } }];
};
