#!/usr/bin/env node
/**
 * node tools/generate/xapi-tables.mjs FOLDER: writes tools/doubles/xapi/generated/*.json
 *
 * FOLDER holds XAPI's data model as tables (`xapi-fields.tsv`, `xapi-messages.tsv`, `xapi-errors.tsv`, `xapi-enums.tsv`,
 * one header line each). Only the classes and calls below are kept; a call that the tables do not have stops it.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { argumentsOf } from '../arguments.mjs';

const TARGET = fileURLToPath(new URL('../doubles/xapi/generated/', import.meta.url));

/** Classes of the double with the calls it answers beside those that read objects and write single fields. */
const CALLS = {
  session: ['login_with_password', 'logout'],
  event: ['from', 'inject'],
  task: ['create', 'destroy', 'cancel'],
  pool: ['designate_new_master', 'create_VLAN_from_PIF'],
  host: [
    ...['enable', 'disable', 'evacuate', 'assert_can_evacuate', 'get_vms_which_prevent_evacuation'],
    ...['compute_free_memory', 'migrate_receive'],
  ],
  host_cpu: [],
  host_metrics: [],
  network: ['create', 'destroy', 'set_default_locking_mode'],
  VIF: [
    ...['create', 'destroy', 'plug', 'unplug', 'unplug_force', 'move', 'set_locking_mode'],
    ...['set_ipv4_allowed', 'add_ipv4_allowed', 'remove_ipv4_allowed'],
    ...['set_ipv6_allowed', 'add_ipv6_allowed', 'remove_ipv6_allowed'],
  ],
  PIF: [],
  VLAN: ['destroy'],
  SR: [],
  PBD: [],
  VDI: [
    ...['create', 'destroy', 'snapshot', 'clone', 'copy', 'resize', 'resize_online', 'pool_migrate'],
    ...['set_name_label', 'set_name_description', 'set_read_only', 'set_sharable'],
  ],
  VBD: ['create', 'destroy', 'plug', 'unplug', 'unplug_force', 'insert', 'eject', 'set_mode'],
  VM: [
    ...['create', 'destroy', 'start', 'start_on', 'pause', 'unpause', 'suspend', 'resume', 'resume_on'],
    ...['clean_shutdown', 'clean_reboot', 'hard_shutdown', 'hard_reboot', 'power_state_reset'],
    ...['pool_migrate', 'migrate_send', 'assert_can_migrate', 'get_possible_hosts', 'assert_can_boot_here'],
    ...['get_allowed_VBD_devices', 'get_allowed_VIF_devices'],
    ...['set_memory_limits', 'set_VCPUs_max', 'set_VCPUs_at_startup', 'set_domain_type'],
    ...['set_platform', 'add_to_platform', 'remove_from_platform'],
    ...['set_other_config', 'add_to_other_config', 'remove_from_other_config'],
    ...['set_blocked_operations', 'add_to_blocked_operations', 'remove_from_blocked_operations'],
  ],
  VM_metrics: [],
  VM_guest_metrics: [],
  console: [],
};
/** Every object of a class is read by these, and each of its fields by a getter. */
const READERS = /^get_(?:record|all|all_records|by_uuid|by_name_label)$/;

/** @returns {Record<string, string>[]} one object for each line */
export const readTable = (path) => {
  const [header, ...lines] = readFileSync(path, 'utf8').trimEnd().split('\n');
  const names = header.split('\t');
  return lines.map((line) => {
    const cells = line.split('\t');
    return Object.fromEntries(names.map((name, n) => [name, cells[n] ?? '']));
  });
};

const parametersOf = (text) =>
  text === ''
    ? []
    : text.split(/,(?=[\w]+:)/).map((parameter) => {
        const [, name, type, optional] = /^(\w+):(.*?)(\??)$/.exec(parameter);
        return optional ? { name, type, optional: true } : { name, type };
      });

/** @param {string} folder @returns {{ classes: object, errors: object, enums: object }} */
export const tablesFrom = (folder) => {
  const fields = readTable(join(folder, 'xapi-fields.tsv'));
  const messages = readTable(join(folder, 'xapi-messages.tsv'));
  const classes = {};
  const usedEnums = new Set();
  const noteEnums = (type) => {
    for (const [, name] of type.matchAll(/enum (\w+)/g)) usedEnums.add(name);
  };
  for (const [name, calls] of Object.entries(CALLS)) {
    const own = fields.filter((f) => f.class === name && f.state !== 'removed');
    const known = new Map(messages.filter((m) => m.class === name).map((m) => [m.message, m]));
    const changesField = ({ message, implicit }) =>
      implicit === 'y' &&
      own.some((f) => new RegExp(`^(?:set|add|remove|add_to|remove_from)_${f.field}$`).test(message));
    for (const { field } of own) {
      const getter = known.get(`get_${field}`);
      if (getter && getter.lowest_role !== 'read-only') throw new Error(`${name}.get_${field} is not for every role`);
    }
    const kept = [...known.values()].filter(
      (m) => calls.includes(m.message) || READERS.test(m.message) || (m.state !== 'removed' && changesField(m)),
    );
    for (const call of calls) if (!known.has(call)) throw new Error(`the tables have no ${name}.${call}`);
    for (const field of own) noteEnums(field.type);
    classes[name] = {
      fields: Object.fromEntries(
        own.map(({ field, type, qualifier, since, default: preset }) => [
          field,
          { type, qualifier, since, ...(preset === '' ? {} : { default: preset }) },
        ]),
      ),
      messages: Object.fromEntries(
        kept
          .sort((a, b) => (a.message < b.message ? -1 : 1))
          .map(({ message, params, result, since, lowest_role }) => {
            const parameters = parametersOf(params);
            for (const { type } of parameters) noteEnums(type);
            return [message, { params: parameters, result, since, role: lowest_role }];
          }),
      ),
    };
  }
  const enums = {};
  for (const { enum: name, value } of readTable(join(folder, 'xapi-enums.tsv')))
    if (usedEnums.has(name)) {
      enums[name] ??= [];
      if (!enums[name].includes(value)) enums[name].push(value);
    }
  const errors = Object.fromEntries(
    readTable(join(folder, 'xapi-errors.tsv')).map(({ code, params }) => [
      code,
      params === '' ? [] : params.split(','),
    ]),
  );
  return { classes, errors, enums };
};

/** One line for each entry of the two outer levels, so that a change reads well. */
const pretty = (value, depth) =>
  depth === 0 || value === null || typeof value !== 'object' || Array.isArray(value)
    ? JSON.stringify(value)
    : `{\n${Object.entries(value)
        .map(([key, inner]) => `${JSON.stringify(key)}: ${pretty(inner, depth - 1)}`)
        .join(',\n')}\n}`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder] = argumentsOf(import.meta.url, { allowPositionals: true, needed: 'FOLDER' }).positionals;
  const { classes, errors, enums } = tablesFrom(folder);
  mkdirSync(TARGET, { recursive: true });
  writeFileSync(join(TARGET, 'classes.json'), `${pretty(classes, 3)}\n`);
  writeFileSync(join(TARGET, 'errors.json'), `${pretty(errors, 1)}\n`);
  writeFileSync(join(TARGET, 'enums.json'), `${pretty(enums, 1)}\n`);
}
