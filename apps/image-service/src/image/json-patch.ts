import { DomainError, forbidden, invalid } from '@omnivisor/contracts';
import { pythonStr } from '@omnivisor/openstack';
import type { ImageChange } from './image-patch.js';
import { assertImage } from './image-schema.js';

/** Media types of Glance's patches and the draft of JSON Patch they follow. */
export const PATCH_TYPES: Readonly<Record<string, 4 | 10>> = {
  'application/openstack-images-v2.0-json-patch': 4,
  'application/openstack-images-v2.1-json-patch': 10,
};
const READ_ONLY = new Set([
  ...['created_at', 'updated_at', 'status', 'checksum', 'size', 'virtual_size', 'direct_url', 'self', 'file', 'schema'],
  ...['id', 'os_hash_algo', 'os_hash_value', 'stores'],
]);
const RESERVED = new Set(['location', 'deleted', 'deleted_at', '__proto__']);
const OPERATIONS = ['add', 'remove', 'replace'] as const;
type Op = (typeof OPERATIONS)[number];

/** @throws DomainError `forbidden` for a name that users may not set */
export const assertSettable = (name: string): void => {
  if (RESERVED.has(name) || name.startsWith('os_glance')) throw forbidden(`Attribute '${name}' is reserved.`);
};
export const assertNotReadOnly = (name: string): void => {
  if (READ_ONLY.has(name)) throw forbidden(`Attribute '${name}' is read-only.`);
};
export const assertPropertyName = (name: string): void => {
  if (name.length > 255) throw invalid('Custom property should not be greater than 255 characters.');
};

const nameIn = (pointer: unknown, op: Op): string => {
  if (typeof pointer !== 'string') throw invalid(`Pointer \`${pythonStr(pointer).slice(0, 300)}\` is not a text.`);
  const shown = pointer.slice(0, 300);
  if (!pointer.startsWith('/')) throw invalid(`Pointer \`${shown}\` does not start with "/".`);
  if (/\/\s*?\//.test(pointer.slice(1))) throw invalid(`Pointer \`${shown}\` contains adjacent "/".`);
  if (pointer.length > 1 && pointer.endsWith('/')) throw invalid(`Pointer \`${shown}\` end with "/".`);
  if (/~[^01]/.test(pointer) || pointer.endsWith('~'))
    throw invalid(`Pointer \`${shown}\` contains "~" not part of a recognized escape sequence.`);
  const parts = pointer
    .replace(/^\/+/, '')
    .split('/')
    .map((p) => p.replaceAll('~1', '/').replaceAll('~0', '~').trim());
  if (parts[0] === 'locations') throw forbidden(`It's not allowed to ${op} locations if locations are invisible.`);
  if (parts.length !== 1 || parts[0] === '')
    throw invalid(`Invalid JSON pointer for this resource: '/${parts.join('/').slice(0, 300)}'`);
  return parts[0]!;
};

const operationOf = (raw: Record<string, unknown>, draft: 4 | 10): { op: Op; pointer: unknown } => {
  if (draft === 4) {
    const named = OPERATIONS.filter((o) => Object.hasOwn(raw, o));
    if (named.length !== 1)
      throw invalid(
        `Operation objects must contain ${named.length > 1 ? 'only' : 'exactly'} one member named "add", "remove", or "replace".`,
      );
    return { op: named[0]!, pointer: raw[named[0]!] };
  }
  const available = `It must be one of the following: ${OPERATIONS.join(', ')}.`;
  if (raw.op === undefined || raw.op === null)
    throw invalid(`Unable to find \`op\` in JSON Schema change. ${available}`);
  const op = OPERATIONS.find((o) => o === raw.op);
  if (!op) throw invalid(`Invalid operation: \`${pythonStr(raw.op).slice(0, 300)}\`. ${available}`);
  if (!Object.hasOwn(raw, 'path')) throw invalid("Unable to find 'path' in JSON Schema change");
  return { op, pointer: raw.path };
};

/**
 * The changes of a PATCH body.
 * @throws DomainError `invalid` for one that cannot be read, `forbidden` for an attribute users may not change
 */
export const changesOf = (body: unknown, draft: 4 | 10): ImageChange[] => {
  if (!Array.isArray(body)) throw invalid('Request body must be a JSON array of operation objects.');
  if (body.length > 1_000) throw new DomainError('tooLarge', 'Too many operations in one request.');
  return body.map((raw): ImageChange => {
    if (raw === null || typeof raw !== 'object' || Array.isArray(raw))
      throw invalid('Operations must be JSON objects.');
    const { op, pointer } = operationOf(raw as Record<string, unknown>, draft);
    const name = nameIn(pointer, op);
    if (op !== 'remove' && !Object.hasOwn(raw, 'value'))
      throw invalid(`Operation "${op}" requires a member named "value".`);
    assertNotReadOnly(name);
    assertSettable(name);
    if (op === 'remove') return { op, name };
    assertPropertyName(name);
    const { value } = raw as { value: unknown };
    assertImage({ [name]: value });
    return { op, name, value, draft };
  });
};
