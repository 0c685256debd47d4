#!/usr/bin/env node
/**
 * node tools/generate/event-catalog.mjs [--check]
 *
 * Writes docs/event-catalog.md from the schemas of libs/contracts; --check only compares. Run it after a build.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { argumentsOf } from '../arguments.mjs';

const FILE = fileURLToPath(new URL('../../docs/event-catalog.md', import.meta.url));

const typeOf = (schema) => {
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.enum) return schema.enum.map((v) => `\`${v}\``).join(' or ');
  const options = schema.anyOf ?? schema.oneOf;
  if (options) {
    const kinds = options.filter((o) => o.type !== 'null').map(typeOf);
    const distinct = [...new Set(kinds)];
    return `${distinct.length > 3 ? `one of ${distinct.length} forms` : distinct.join(' or ')}${options.some((o) => o.type === 'null') ? ', or null' : ''}`;
  }
  if (schema.$ref) return schema.$ref.split('/').at(-1);
  if (schema.type === 'array')
    return schema.items && Object.keys(schema.items).length > 0 ? `list of ${typeOf(schema.items)}` : 'list';
  if (schema.type === 'object') return schema.properties ? `{${Object.keys(schema.properties).join(', ')}}` : 'map';
  if (schema.format) return schema.format;
  return Array.isArray(schema.type) ? schema.type.join(' or ') : (schema.type ?? 'anything');
};

const cell = (text) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

/** What of a field is personal: all of it, or some of what it has inside. */
const personalOf = (schema) => {
  if (schema.personal) return 'personal';
  const inner = Object.entries(schema.properties ?? {}).filter(([, property]) => personalOf(property) !== '');
  return inner.length === 0 ? '' : `personal: ${inner.map(([name]) => name).join(', ')}`;
};

const fieldsOf = (json) => {
  const required = new Set(json.required ?? []);
  return Object.entries(json.properties ?? {}).map(
    ([name, schema]) =>
      `| \`${name}\`${required.has(name) ? '' : '?'} | ${cell(typeOf(schema))} | ${personalOf(schema)} |`,
  );
};

/** @param {readonly any[]} sets `eventSets` of contracts @param {(schema: any, options?: any) => any} toJSONSchema zod's */
export const catalog = (sets, toJSONSchema) => {
  const count = sets.reduce((n, set) => n + Object.keys(set.events).length, 0);
  const lines = [
    '# Event catalog',
    '',
    'Generated from `libs/contracts` by `node tools/generate/event-catalog.mjs`; do not edit.',
    '',
    `${count} events in ${sets.length} kinds of stream. A \`?\` marks an optional field; *personal* marks what names or describes a`,
    'human being, and stands in the log under a key of its own. The envelope around each event is described in [architecture.md](architecture.md#the-log).',
    '',
    '| stream | written by | events |',
    '|---|---|---|',
    ...sets.map(
      (set) => `| [\`${set.stream}-…\`](#${set.stream}) | ${set.writer} | ${Object.keys(set.events).length} |`,
    ),
  ];
  for (const set of [...sets]) {
    lines.push('', `## ${set.stream}`, '', `Streams \`${set.stream}-<key>\`, written by ${set.writer} only.`);
    for (const [type, { doc, version, data }] of Object.entries(set.events)) {
      const json = toJSONSchema(data, { io: 'input', unrepresentable: 'any', reused: 'inline' });
      lines.push('', `### ${type}`, '', `${doc}${version === 1 ? '' : ` Version ${version}.`}`, '');
      const forms = json.oneOf ?? json.anyOf;
      if (forms) for (const form of forms) lines.push('| field | type | |', '|---|---|---|', ...fieldsOf(form), '');
      else {
        const fields = fieldsOf(json);
        if (fields.length > 0) lines.push('| field | type | |', '|---|---|---|', ...fields);
      }
    }
  }
  return `${lines
    .join('\n')
    .replace(/\n{3,}/g, '\n\n')
    .trimEnd()}\n`;
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = argumentsOf(import.meta.url, { options: { check: { type: 'boolean' } } });
  const { eventSets } = await import('../../libs/contracts/dist/index.js');
  const { z } = await import('zod');
  const text = catalog(eventSets, z.toJSONSchema);
  if (values.check) {
    if (readFileSync(FILE, 'utf8') !== text) {
      console.error('docs/event-catalog.md is not up to date: run node tools/generate/event-catalog.mjs');
      process.exit(1);
    }
  } else writeFileSync(FILE, text);
}
