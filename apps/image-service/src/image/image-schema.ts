import { invalid } from '@omnivisor/contracts';
import { pythonText } from '@omnivisor/openstack';

/** The part of JSON Schema that Glance's documents use. */
export interface PropertySchema {
  readonly type: string | readonly string[];
  readonly description?: string;
  readonly readOnly?: boolean;
  readonly enum?: readonly (string | null)[];
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly items?: PropertySchema | object;
}

export const DISK_FORMATS = ['ami', 'ari', 'aki', 'vhd', 'vhdx', 'vmdk', 'raw', 'qcow2', 'vdi', 'iso', 'ploop'];
export const CONTAINER_FORMATS = ['ami', 'ari', 'aki', 'bare', 'ovf', 'ova', 'docker', 'compressed'];
const MAX_INTEGER = 2_147_483_647;

const text = (description: string, more: Partial<PropertySchema> = {}): PropertySchema => ({
  type: 'string',
  description,
  ...more,
});
const optionalText = (description: string, more: Partial<PropertySchema> = {}): PropertySchema => ({
  type: ['null', 'string'],
  description,
  ...more,
});

export const imageProperties: Readonly<Record<string, PropertySchema>> = {
  id: text('An identifier for the image', {
    pattern: '^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$',
  }),
  name: optionalText('Descriptive name for the image', { maxLength: 255 }),
  status: text('Status of the image', {
    readOnly: true,
    enum: [
      ...['queued', 'saving', 'active', 'killed', 'deleted', 'uploading', 'importing', 'pending_delete'],
      'deactivated',
    ],
  }),
  visibility: text('Scope of image accessibility', { enum: ['community', 'public', 'private', 'shared'] }),
  protected: { type: 'boolean', description: 'If true, image will not be deletable.' },
  os_hidden: { type: 'boolean', description: 'If true, image will not appear in default image list response.' },
  checksum: optionalText('md5 hash of image contents.', { readOnly: true, maxLength: 32 }),
  os_hash_algo: optionalText('Algorithm to calculate the os_hash_value', { readOnly: true, maxLength: 64 }),
  os_hash_value: optionalText('Hexdigest of the image contents using the algorithm specified by the os_hash_algo', {
    readOnly: true,
    maxLength: 128,
  }),
  owner: optionalText('Owner of the image', { maxLength: 255 }),
  size: { type: ['null', 'integer'], readOnly: true, description: 'Size of image file in bytes' },
  virtual_size: { type: ['null', 'integer'], readOnly: true, description: 'Virtual size of image in bytes' },
  container_format: optionalText('Format of the container', { enum: [null, ...CONTAINER_FORMATS] }),
  disk_format: optionalText('Format of the disk', { enum: [null, ...DISK_FORMATS] }),
  created_at: text('Date and time of image registration', { readOnly: true }),
  updated_at: text('Date and time of the last image modification', { readOnly: true }),
  tags: {
    type: 'array',
    description: 'List of strings related to the image',
    items: { type: 'string', maxLength: 255 },
  },
  direct_url: text('URL to access the image file kept in external store', { readOnly: true }),
  min_ram: { type: 'integer', description: 'Amount of ram (in MB) required to boot image.' },
  min_disk: { type: 'integer', description: 'Amount of disk space (in GB) required to boot image.' },
  self: text('An image self url', { readOnly: true }),
  file: text('An image file url', { readOnly: true }),
  schema: text('An image schema url', { readOnly: true }),
};

const ofType = (value: unknown, type: string): boolean => {
  if (type === 'null') return value === null;
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'array') return Array.isArray(value);
  return typeof value === type;
};

/** What is wrong with a value, in jsonschema's words; null when nothing is. */
const problemOf = (value: unknown, schema: PropertySchema): string | null => {
  const types = typeof schema.type === 'string' ? [schema.type] : schema.type;
  if (!types.some((t) => ofType(value, t)))
    return `${pythonText(value).slice(0, 300)} is not of type ${types.map((t) => `'${t}'`).join(', ')}`;
  if (schema.enum && !schema.enum.includes(value as string | null))
    return `${pythonText(value).slice(0, 300)} is not one of ${pythonText(schema.enum)}`;
  if (typeof value === 'string') {
    if (schema.maxLength !== undefined && [...value].length > schema.maxLength)
      return `${pythonText(value.slice(0, 300))} is too long`;
    if (schema.pattern !== undefined && !new RegExp(schema.pattern).test(value))
      return `${pythonText(value.slice(0, 300))} does not match ${pythonText(schema.pattern)}`;
  }
  if (typeof value === 'number' && Math.abs(value) > MAX_INTEGER) return `${value} is out of range`;
  if (Array.isArray(value))
    for (const item of value) {
      const problem = problemOf(item, schema.items as PropertySchema);
      if (problem) return problem;
    }
  return null;
};

const CUSTOM: PropertySchema = { type: 'string', maxLength: 65_535 };

/** @throws DomainError `invalid` for the first attribute that does not fit; custom properties are texts */
export const assertImage = (image: Record<string, unknown>): void => {
  for (const [name, value] of Object.entries(image)) {
    const known = Object.hasOwn(imageProperties, name) ? imageProperties[name] : undefined;
    const problem = problemOf(value, known ?? CUSTOM);
    if (problem)
      throw invalid(`Provided object does not match schema 'image': ${problem}`, { attribute: name.slice(0, 255) });
  }
};

export const imageSchema = {
  name: 'image',
  properties: imageProperties,
  additionalProperties: { type: 'string' },
  links: [
    { rel: 'self', href: '{self}' },
    { rel: 'enclosure', href: '{file}' },
    { rel: 'describedby', href: '{schema}' },
  ],
};

export const imagesSchema = {
  name: 'images',
  properties: {
    images: { type: 'array', items: imageSchema },
    first: { type: 'string' },
    next: { type: 'string' },
    schema: { type: 'string' },
  },
  links: [
    { rel: 'first', href: '{first}' },
    { rel: 'next', href: '{next}' },
    { rel: 'describedby', href: '{schema}' },
  ],
};

export const memberSchema = {
  name: 'member',
  properties: {
    created_at: { type: 'string', description: 'Date and time of image member creation' },
    image_id: { type: 'string', description: 'An identifier for the image', pattern: imageProperties.id!.pattern },
    member_id: { type: 'string', description: 'An identifier for the image member (tenantId)' },
    status: {
      type: 'string',
      description: 'The status of this image member',
      enum: ['pending', 'accepted', 'rejected'],
    },
    updated_at: { type: 'string', description: 'Date and time of last modification of image member' },
    schema: { readOnly: true, type: 'string' },
  },
};

export const membersSchema = {
  name: 'members',
  properties: { members: { type: 'array', items: memberSchema }, schema: { type: 'string' } },
  links: [{ rel: 'describedby', href: '{schema}' }],
};
