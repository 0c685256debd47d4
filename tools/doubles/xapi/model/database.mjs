import { randomUUID } from 'node:crypto';
import { fail } from './failure.mjs';
import { RELATIONS } from './schema.mjs';
import { NULL_REF } from './types.mjs';

/** What does not survive a restart of the tool stack. */
const VOLATILE = new Set(['session', 'task']);
const DELETED_KEPT = 10_000;

/**
 * The pool's objects. Each row knows the generation in which it was made and last changed, as `event.from` needs it.
 * @typedef {{ record: Record<string, any>, created: number, modified: number }} Row
 */
export class Database {
  /** @param {import('./schema.mjs').Schema} schema */
  constructor(schema) {
    this.schema = schema;
    this.generation = 0;
    /** @type {Map<string, Map<string, Row>>} */
    this.tables = new Map(Object.keys(schema.classes).map((name) => [name, new Map()]));
    /** @type {{ class: string, ref: string, created: number, deleted: number }[]} */
    this.deleted = [];
    /** @type {Set<() => void>} */
    this.listeners = new Set();
    /** Fields that follow from others, by class. @type {Record<string, Record<string, (ref: string, record: any) => unknown>>} */
    this.derived = {};
    this.children = new Map(RELATIONS.map(([child, field]) => [`${child}.${field}`, new Map()]));
    /** True when something that has to survive has changed since it was last saved. */
    this.dirty = false;
  }

  /** @param {string} name @param {Record<string, unknown>} fields @returns {string} the new object's reference */
  create(name, fields, ref = `OpaqueRef:${randomUUID()}`) {
    const generation = this.#next(name);
    const record = { ...this.schema.emptyRecord(name), uuid: randomUUID(), ...fields };
    for (const field of Object.keys(record)) if (!(field in this.schema.classes[name].fields)) delete record[field];
    this.tables.get(name).set(ref, { record, created: generation, modified: generation });
    this.#relate(name, ref, {}, record);
    this.#changed();
    return ref;
  }

  /** Fields that the release does not have are left out. */
  set(name, ref, changes) {
    const row = this.row(name, ref);
    const known = Object.entries(changes).filter(([field]) => field in this.schema.classes[name].fields);
    const before = row.record;
    row.record = { ...before, ...Object.fromEntries(known) };
    row.modified = this.#next(name);
    this.#relate(name, ref, before, row.record);
    this.#changed();
  }

  destroy(name, ref) {
    const row = this.row(name, ref);
    this.tables.get(name).delete(ref);
    this.deleted.push({ class: name, ref, created: row.created, deleted: this.#next(name) });
    if (this.deleted.length > DELETED_KEPT) this.deleted.shift();
    this.#relate(name, ref, row.record, {});
    this.#changed();
  }

  has(name, ref) {
    return this.tables.get(name)?.has(ref) ?? false;
  }

  row(name, ref) {
    return this.tables.get(name).get(ref) ?? fail('HANDLE_INVALID', name, ref);
  }

  /** As it is kept: without what follows from other fields. */
  get(name, ref) {
    return this.row(name, ref).record;
  }

  /** @returns {[string, any][]} */
  all(name) {
    return [...this.tables.get(name)].map(([ref, row]) => [ref, row.record]);
  }

  refs(name) {
    return [...this.tables.get(name).keys()];
  }

  /** The record as clients see it. */
  view(name, ref) {
    const record = { ...this.get(name, ref) };
    for (const [child, field, parent, set] of RELATIONS)
      if (parent === name && set in record) record[set] = this.childrenOf(child, field, ref);
    for (const [field, compute] of Object.entries(this.derived[name] ?? {}))
      if (field in record) record[field] = compute(ref, record);
    return record;
  }

  /** @returns {string[]} references of objects whose `field` points to `parent` */
  childrenOf(child, field, parent) {
    return [...(this.children.get(`${child}.${field}`)?.get(parent) ?? [])];
  }

  /** The object has changed for its readers, though none of its own fields has. @returns {number} the generation used */
  touch(name, ref) {
    const row = this.row(name, ref);
    row.modified = this.#next(name);
    this.#changed();
    return row.modified;
  }

  /** @param {number} since @returns {{ kind: 'add' | 'mod' | 'del', class: string, ref: string, at: number }[]} */
  changesSince(since) {
    const changes = { add: [], mod: [], del: [] };
    for (const [name, rows] of this.tables)
      for (const [ref, { created, modified }] of rows) {
        if (created > since) changes.add.push({ kind: 'add', class: name, ref, at: modified });
        else if (modified > since) changes.mod.push({ kind: 'mod', class: name, ref, at: modified });
      }
    for (const { class: name, ref, created, deleted } of this.deleted)
      if (deleted > since && created <= since) changes.del.push({ kind: 'del', class: name, ref, at: deleted });
    return [...changes.add, ...changes.mod, ...changes.del];
  }

  /** As in an older copy: what there is has lower generations. @param {number} count */
  countBack(count) {
    const back = (generation) => Math.max(1, generation - count);
    this.generation = back(this.generation);
    for (const rows of this.tables.values())
      for (const row of rows.values()) Object.assign(row, { created: back(row.created), modified: back(row.modified) });
    this.deleted = this.deleted.map((d) => ({ ...d, created: back(d.created), deleted: back(d.deleted) }));
  }

  /** The tool stack starts anew: who had a session or a task has none any more. */
  forgetVolatile() {
    for (const name of VOLATILE) for (const ref of this.refs(name)) this.destroy(name, ref);
  }

  toJSON() {
    const tables = {};
    for (const [name, rows] of this.tables) if (!VOLATILE.has(name)) tables[name] = [...rows];
    return { generation: this.generation, tables, deleted: this.deleted.filter((d) => !VOLATILE.has(d.class)) };
  }

  load({ generation, tables, deleted }) {
    this.generation = generation;
    this.deleted = deleted;
    for (const [name, rows] of Object.entries(tables)) {
      this.tables.set(name, new Map(rows));
      for (const [ref, { record }] of rows) this.#relate(name, ref, {}, record, false);
    }
  }

  #next(name) {
    if (!VOLATILE.has(name)) this.dirty = true;
    return ++this.generation;
  }

  #changed() {
    for (const listener of this.listeners) listener();
  }

  #relate(name, ref, before, after, tell = true) {
    for (const [child, field, parent] of RELATIONS) {
      if (child !== name || before[field] === after[field]) continue;
      const index = this.children.get(`${child}.${field}`);
      index.get(before[field])?.delete(ref);
      const target = after[field];
      if (target !== undefined && target !== NULL_REF) {
        if (!index.has(target)) index.set(target, new Set());
        index.get(target).add(ref);
      }
      if (!tell) continue;
      for (const end of [before[field], target])
        if (end !== undefined && this.has(parent, end)) this.tables.get(parent).get(end).modified = this.#next(parent);
    }
  }
}
