/** XAPI's types are named by text: `string`, `int`, `VM ref`, `string set`, `enum vdi_type`, `(string -> string) map`. */

export const NULL_REF = 'OpaqueRef:NULL';
export const EPOCH = '19700101T00:00:00Z';

/** @param {Date} [at] @returns {string} as XAPI writes a moment */
export const dateTime = (at = new Date()) => `${at.toISOString().slice(0, 19).replaceAll('-', '')}Z`;

const MAP = /^\((.+) -> (.+)\) map$/;
export const setOf = (type) => (type.endsWith(' set') ? type.slice(0, -4) : null);
export const mapOf = (type) => {
  const match = MAP.exec(type);
  return match ? { key: match[1], value: match[2] } : null;
};
export const recordOf = (type) => (type.endsWith(' record') ? type.slice(0, -7) : null);

const isDateTime = (value) => typeof value === 'string' && /^\d{8}T\d{2}:\d{2}:\d{2}(\.\d+)?Z?$/.test(value);

/**
 * A value from the wire as the data model keeps it; whole numbers may come as text, as XML-RPC clients send them.
 * @param {string} type
 * @param {unknown} value
 * @param {Record<string, string[]>} enums
 * @returns {unknown} undefined when it is not of the type
 */
export const fromWire = (type, value, enums) => {
  const member = setOf(type);
  if (member !== null) {
    if (!Array.isArray(value)) return undefined;
    const items = value.map((item) => fromWire(member, item, enums));
    return items.includes(undefined) ? undefined : items;
  }
  const map = mapOf(type);
  if (map !== null) {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined;
    const entries = Object.entries(value).map(([key, item]) => [key, fromWire(map.value, item, enums)]);
    if (entries.some(([key, item]) => item === undefined || fromWire(map.key, key, enums) === undefined))
      return undefined;
    return Object.fromEntries(entries);
  }
  if (recordOf(type) !== null)
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : undefined;
  if (type.startsWith('enum ')) return enums[type.slice(5)]?.includes(value) ? value : undefined;
  switch (type) {
    case 'int': {
      const number = typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value;
      return Number.isSafeInteger(number) ? number : undefined;
    }
    case 'float': {
      const number = typeof value === 'string' && value !== '' ? Number(value) : value;
      return Number.isFinite(number) ? number : undefined;
    }
    case 'bool':
      return typeof value === 'boolean' ? value : undefined;
    case 'datetime':
      return isDateTime(value) ? value : undefined;
    default:
      return typeof value === 'string' ? value : undefined;
  }
};
