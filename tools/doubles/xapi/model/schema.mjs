import { readFileSync } from 'node:fs';
import { NULL_REF } from './types.mjs';

const read = (name) => JSON.parse(readFileSync(new URL(`../generated/${name}.json`, import.meta.url), 'utf8'));

/**
 * @typedef {{ type: string, qualifier: 'StaticRO' | 'DynamicRO' | 'RW', since: string, default?: string }} Field
 * @typedef {{ params: { name: string, type: string, optional?: boolean }[], result: string, since: string, role: string }} Message
 */

/** Releases in their order; later ones are the versions of XAPI itself. */
const RELEASES = [
  ...['rio', 'miami', 'symc', 'orlando', 'orlando-update-1', 'george', 'midnight-ride', 'cowley', 'boston', 'tampa'],
  ...['clearwater', 'vgpu-tech-preview', 'vgpu-productisation', 'clearwater-felton', 'clearwater-whetstone'],
  ...['creedence', 'cream', 'indigo', 'dundee', 'ely', 'falcon', 'inverness', 'jura', 'kolkata', 'lima', 'naples'],
  ...['oslo', 'quebec', 'stockholm', 'stockholm_psr'],
];

const rank = (release) => {
  const named = RELEASES.indexOf(release);
  if (named >= 0) return [0, named];
  if (!/^\d+(\.\d+)*$/.test(release)) throw new Error(`unknown release ${release}`);
  return [1, ...release.split('.').map(Number)];
};
const isIn = (since, release) => {
  const a = rank(since);
  const b = rank(release);
  for (let i = 0; i < Math.max(a.length, b.length); i++)
    if ((a[i] ?? 0) !== (b[i] ?? 0)) return (a[i] ?? 0) < (b[i] ?? 0);
  return true;
};

/** Many-to-one: `[class, field]` points to one object whose set field lists what points to it. */
export const RELATIONS = [
  ['VM', 'resident_on', 'host', 'resident_VMs'],
  ['VM', 'snapshot_of', 'VM', 'snapshots'],
  ['VM', 'parent', 'VM', 'children'],
  ['VBD', 'VM', 'VM', 'VBDs'],
  ['VBD', 'VDI', 'VDI', 'VBDs'],
  ['VIF', 'VM', 'VM', 'VIFs'],
  ['VIF', 'network', 'network', 'VIFs'],
  ['console', 'VM', 'VM', 'consoles'],
  ['VDI', 'SR', 'SR', 'VDIs'],
  ['VDI', 'snapshot_of', 'VDI', 'snapshots'],
  ['PBD', 'host', 'host', 'PBDs'],
  ['PBD', 'SR', 'SR', 'PBDs'],
  ['PIF', 'host', 'host', 'PIFs'],
  ['PIF', 'network', 'network', 'PIFs'],
  ['VLAN', 'tagged_PIF', 'PIF', 'VLAN_slave_of'],
  ['host_cpu', 'host', 'host', 'host_CPUs'],
  ['task', 'subtask_of', 'task', 'subtasks'],
];

/** What a field holds when neither a client nor the table says it. */
const emptyOf = (type, enums) => {
  if (/ (set|map)$/.test(type)) return type.endsWith('map') ? {} : [];
  if (type.endsWith(' ref')) return NULL_REF;
  if (type.startsWith('enum ')) return enums[type.slice(5)][0];
  return { string: '', int: 0, float: 0, bool: false, datetime: '19700101T00:00:00Z' }[type] ?? '';
};

const presetOf = ({ type, default: preset }, enums) => {
  if (preset === undefined || preset === 'Null') return emptyOf(type, enums);
  if (preset === '{}') return emptyOf(type, enums);
  if (type.endsWith(' map'))
    return Object.fromEntries([...preset.matchAll(/"([^"]*)" -> "([^"]*)"/g)].map(([, key, value]) => [key, value]));
  if (type.endsWith(' set'))
    return preset
      .slice(1, -1)
      .split(', ')
      .map((v) => (type === 'int set' ? Number(v) : v));
  if (type === 'string') return preset.replace(/^"|"$/g, '');
  if (type === 'int' || type === 'float') return Number(preset);
  if (type === 'bool') return preset === 'true';
  return preset;
};

/** XAPI's data model as of one release: classes, fields and calls of later ones are not there. */
export class Schema {
  /** @param {string} [release] a code name up to `stockholm_psr`, or a version of XAPI */
  constructor(release = '26.17.0') {
    this.release = release;
    this.enums = read('enums');
    /** @type {Record<string, { fields: Record<string, Field>, messages: Record<string, Message> }>} */
    this.classes = {};
    for (const [name, { fields, messages }] of Object.entries(read('classes'))) {
      const current = (entries) =>
        Object.fromEntries(Object.entries(entries).filter(([, { since }]) => isIn(since, release)));
      this.classes[name] = { fields: current(fields), messages: current(messages) };
    }
  }

  /** @param {string} name @returns {Record<string, unknown>} a record with every field at its default */
  emptyRecord(name) {
    const record = {};
    for (const [field, definition] of Object.entries(this.classes[name].fields))
      record[field] = structuredClone(presetOf(definition, this.enums));
    return record;
  }

  /**
   * The fields that a client sets at creation: StaticRO and RW. One without a default has to be given.
   * @returns {{ name: string, type: string, required: boolean }[]}
   */
  constructorFields(name) {
    return Object.entries(this.classes[name].fields)
      .filter(([, { qualifier }]) => qualifier !== 'DynamicRO')
      .map(([field, { type, default: preset }]) => ({ name: field, type, required: preset === undefined }));
  }

  /** @param {string} lower a class as events name it @returns {string} */
  classNamed(lower) {
    return Object.keys(this.classes).find((name) => name.toLowerCase() === lower) ?? lower;
  }

  /** An event has fields, but is no object. */
  isObject(name) {
    return 'get_record' in this.classes[name].messages;
  }

  /** Names of all calls, as `system.listMethods` answers. */
  methodNames() {
    return Object.entries(this.classes).flatMap(([name, { fields, messages }]) => [
      ...Object.keys(messages).map((message) => `${name}.${message}`),
      ...(this.isObject(name) ? Object.keys(fields).map((field) => `${name}.get_${field}`) : []),
    ]);
  }

  /** @param {string} method `class.message` @returns {(Message & { class: string, message: string, field?: string }) | null} */
  find(method) {
    const [name, message] = method.split('.');
    const known = this.classes[name];
    if (!known || message === undefined) return null;
    if (Object.hasOwn(known.messages, message)) return { ...known.messages[message], class: name, message };
    const field = message.startsWith('get_') ? message.slice(4) : '';
    if (!this.isObject(name) || !Object.hasOwn(known.fields, field)) return null;
    const params = [
      { name: 'session_id', type: 'session ref' },
      { name: 'self', type: `${name} ref` },
    ];
    const { type, since } = known.fields[field];
    return { params, result: type, since, role: 'read-only', class: name, message, field };
  }
}
