#!/usr/bin/env node
/**
 * node tools/generate/event-samples.mjs
 *
 * Adds to libs/contracts/samples what every event of this release may look like and no line there shows yet. A line
 * once committed stays: it stands for events that logs have, which each later release must read. Run it after a build.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { argumentsOf } from '../arguments.mjs';

export const FOLDER = new URL('../../libs/contracts/samples/', import.meta.url);

/** What stands in fields that readers look into; all other texts say which field they are of. */
const BY_NAME = {
  address: '10.0.0.5',
  addresses: '10.0.0.5',
  cidr: '10.0.0.0/24',
  destination: '10.1.0.0/24',
  end: '10.0.0.200',
  expiresMicros: '1769860800000000',
  fixedIp: '10.0.0.5',
  gateway: '10.0.0.1',
  mac: 'fa:16:3e:00:00:05',
  method: 'GET',
  nexthop: '10.0.0.1',
  operation: 'GET /compute/v2.1/servers/:id',
  path: '/v2.1/servers/**',
  protocol: 'tcp',
  remotePrefix: '10.0.0.0/24',
  requestId: 'req-6f70656e-6e65-4bad-8f0d-5c6e3f2a1b07',
  serviceAddress: '10.0.0.2',
  start: '10.0.0.10',
};

/** Texts that the schemas accept somewhere; the first one that fits is taken. */
const TEXTS = ['6f70656e-6e65-4bad-8f0d-5c6e3f2a1b07', '2026-01-31T12:00:00.000Z', '6f70656e/1'];

const accepted = (schema, candidates) => {
  const found = candidates.filter((candidate) => schema.safeParse(candidate).success);
  if (found.length === 0) throw new Error(`no sample for a ${schema.def.type}: add one to ${import.meta.url}`);
  return found;
};

/** What a field is when it is left out. */
const ABSENT = Symbol('absent');

/**
 * Values of a schema that show everything it allows: each alternative at least once, the fullest first, the barest last.
 * @param {string} name a free text says of which field it is
 */
const valuesOf = (schema, name) => {
  const { def } = schema;
  switch (def.type) {
    case 'string':
      return accepted(schema, [BY_NAME[name] ?? name, ...TEXTS]).slice(0, 1);
    case 'number':
      return accepted(schema, [1, 0]);
    case 'boolean':
      return [true, false];
    case 'literal':
      return def.values;
    case 'enum':
      return Object.values(def.entries);
    case 'unknown':
      return [{ [name]: [name, 1, true, null] }, null];
    case 'nullable':
      return [...valuesOf(def.innerType, name), null];
    case 'optional':
      return [...valuesOf(def.innerType, name), ABSENT];
    case 'array':
      return [valuesOf(def.element, name), []];
    case 'record': {
      const keys = valuesOf(def.keyType, name);
      const filled = valuesOf(def.valueType, name).map((value) => Object.fromEntries(keys.map((key) => [key, value])));
      return [...filled, {}];
    }
    case 'union':
      return def.options.flatMap((option) => valuesOf(option, name));
    case 'object': {
      const fields = Object.entries(def.shape).map(([key, field]) => [key, valuesOf(field, key)]);
      const count = Math.max(1, ...fields.map(([, values]) => values.length));
      return Array.from({ length: count }, (_, i) =>
        Object.fromEntries(
          fields
            .map(([key, values]) => [key, values[Math.min(i, values.length - 1)]])
            .filter(([, value]) => value !== ABSENT),
        ),
      );
    }
    default:
      throw new Error(`a ${def.type} in an event: tell ${import.meta.url} what one looks like`);
  }
};

/**
 * What the events of a set look like in this release.
 * @returns {{ type: string, schemaVersion: number, data: object }[]}
 */
export const samplesOf = (set) =>
  Object.entries(set.events).flatMap(([type, { version, data }]) =>
    valuesOf(data, type).map((value) => ({ type, schemaVersion: version, data: value })),
  );

/** The committed samples of a kind of stream. */
export const committedSamples = (stream) => {
  const file = new URL(`${stream}.jsonl`, FOLDER);
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
};

/** The samples of this release that are not committed. */
export const missingSamples = (set) => {
  const known = new Set(committedSamples(set.stream).map((sample) => JSON.stringify(sample)));
  return samplesOf(set).filter((sample) => !known.has(JSON.stringify(sample)));
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  argumentsOf(import.meta.url);
  const { eventSets } = await import('../../libs/contracts/dist/index.js');
  mkdirSync(FOLDER, { recursive: true });
  for (const set of eventSets) {
    const lines = [...committedSamples(set.stream), ...missingSamples(set)].map((sample) => JSON.stringify(sample));
    writeFileSync(new URL(`${set.stream}.jsonl`, FOLDER), `${lines.join('\n')}\n`);
  }
}
