import { calls, operations } from '../classes/index.mjs';
import { fail, XapiFailure } from './failure.mjs';
import { fromWire } from './types.mjs';

const ASYNC = 'Async.';

/**
 * What a call runs in.
 * @typedef {{ xapi: Xapi, db: import('./database.mjs').Database, session: { ref: string, name: string, role: string },
 *   host: string, task: string, signal: AbortSignal }} Context
 */

/** Takes calls apart, checks them against the data model, the session and its role, and runs them. */
export class Xapi {
  /**
   * @param {{ schema: import('./schema.mjs').Schema, database: import('./database.mjs').Database,
   *   sessions: import('./sessions.mjs').Sessions, events: import('./events.mjs').Events,
   *   tasks: import('./tasks.mjs').Tasks, disks: import('../storage/disks.mjs').Disks,
   *   guests: import('../guests/record-guests.mjs').RecordGuests, faults: import('./faults.mjs').Faults,
   *   settings: import('../options.mjs').Settings }} parts
   */
  constructor({ schema, database, sessions, events, tasks, disks, guests, faults, settings }) {
    this.schema = schema;
    this.db = database;
    this.sessions = sessions;
    this.events = events;
    this.tasks = tasks;
    this.disks = disks;
    this.guests = guests;
    this.faults = faults;
    this.settings = settings;
    this.lastDomain = 0;
    /** Async calls under way. @type {Set<Promise<void>>} */
    this.running = new Set();
    /** What is done once the answer to the call at hand is on its way. @type {(() => void)[]} */
    this.later = [];
    /** @type {(host: string) => void} */
    this.changeMaster = () => {};
  }

  get master() {
    return this.db.get('pool', this.db.refs('pool')[0]).master;
  }

  addressOf(host) {
    return this.db.get('host', host).address;
  }

  nextDomainId() {
    this.lastDomain = Math.max(this.lastDomain, ...this.db.all('VM').map(([, { domid }]) => domid)) + 1;
    return this.lastDomain;
  }

  /** @param {() => void} action */
  afterAnswer(action) {
    this.later.push(action);
  }

  /**
   * @param {string} host the member that was asked
   * @param {string} name
   * @param {unknown[]} params
   * @returns {Promise<{ type: string, value: unknown, lost: boolean }>} `lost`: the caller must not hear of it
   * @throws {XapiFailure}
   */
  async call(host, name, params) {
    if (name === 'system.listMethods') return { type: 'string set', value: this.schema.methodNames(), lost: false };
    const asynchronous = name.startsWith(ASYNC);
    const method = asynchronous ? name.slice(ASYNC.length) : name;
    const message = this.schema.find(method) ?? fail('MESSAGE_METHOD_UNKNOWN', method);
    this.#checkCount(method, message, params);
    if (method === 'session.login_with_password') {
      this.#checkMaster(host);
      const lost = await this.faults.before(method, []);
      const [user, password, , originator] = this.#arguments(message, params);
      return { type: message.result, value: this.sessions.login(user, password, host, originator), lost };
    }
    this.#checkMaster(host);
    const [ref] = params;
    const session = this.sessions.check(ref);
    const args = this.#arguments(message, params).slice(1);
    this.sessions.authorize(session, method, message.role);
    const lost = await this.faults.before(method, args);
    const context = { xapi: this, db: this.db, session, host };
    if (asynchronous) return { type: 'task ref', value: this.#start(context, method, message, args), lost };
    return { type: message.result, value: await this.#run(context, method, message, args), lost };
  }

  /** Waits for what runs in the background. */
  async settled() {
    await Promise.all(this.running);
  }

  #checkMaster(host) {
    if (host !== this.master) fail('HOST_IS_SLAVE', this.addressOf(this.master));
  }

  #checkCount(method, { params, message }, given) {
    const needed = params.filter((p) => !p.optional).length;
    const open = needed < params.length;
    if (given.length === needed || (open && given.length > needed)) return;
    const session = params[0]?.name === 'session_id' ? 1 : 0;
    if (message === 'create' && given.length === params.length) return;
    fail('MESSAGE_PARAMETER_COUNT_MISMATCH', method, needed - session, given.length - session);
  }

  #arguments({ class: name, params }, given) {
    return params.slice(0, given.length).map(({ name: parameter, type }, n) => {
      const value = fromWire(type, given[n], this.schema.enums);
      if (value === undefined) fail('FIELD_TYPE_ERROR', parameter);
      return type === `${name} record` && parameter === 'args' ? this.#record(name, value) : value;
    });
  }

  /** The fields of a constructor: those that a client may set, each of its type, none missing that has no default. */
  #record(name, given) {
    const record = {};
    for (const { name: field, type, required } of this.schema.constructorFields(name)) {
      if (!(field in given)) {
        if (required) fail('INTERNAL_ERROR', `Server_helpers.Dispatcher_FieldNotFound("${field}")`);
        continue;
      }
      const value = fromWire(type, given[field], this.schema.enums);
      if (value === undefined) fail('FIELD_TYPE_ERROR', field);
      record[field] = value;
    }
    return record;
  }

  #start(context, method, message, args) {
    const task = this.tasks.create(ASYNC + method, '', context.host);
    const run = this.#run({ ...context, task }, method, message, args).then(
      (value) => this.tasks.succeed(task, message.result, value),
      (error) => this.tasks.fail(task, error),
    );
    const tracked = run.finally(() => this.running.delete(tracked));
    this.running.add(tracked);
    return task;
  }

  async #run(context, method, message, args) {
    if (method in calls) return calls[method]({ ...context, signal: new AbortController().signal }, ...args);
    if (method in operations) return this.#operate(context, method, args);
    return this.#access(message, args);
  }

  /** Work that takes time is seen in a task, also where the caller waits for it. */
  async #operate(context, method, args) {
    const task = context.task ?? this.tasks.create(method, '', context.host);
    const signal = this.tasks.signal(task);
    try {
      return await operations[method]({ ...context, task, signal }, ...args);
    } catch (error) {
      throw signal.aborted ? new XapiFailure('TASK_CANCELLED', task) : error;
    } finally {
      if (!context.task && this.db.has('task', task)) this.tasks.destroy(task);
    }
  }

  /** Reads objects, and reads and writes single fields: the same for every class. */
  #access({ class: name, message, field }, args) {
    const { db } = this;
    if (field) return db.view(name, args[0])[field];
    switch (message) {
      case 'get_all':
        return db.refs(name);
      case 'get_all_records':
        return Object.fromEntries(db.refs(name).map((ref) => [ref, db.view(name, ref)]));
      case 'get_record':
        return db.view(name, args[0]);
      case 'get_by_uuid':
        return db.all(name).find(([, record]) => record.uuid === args[0])?.[0] ?? fail('UUID_INVALID', name, args[0]);
      case 'get_by_name_label':
        return db.all(name).flatMap(([ref, record]) => (record.name_label === args[0] ? [ref] : []));
      default:
        return this.#write(name, message, args);
    }
  }

  #write(name, message, [ref, ...values]) {
    const [, verb, field] = /^(set|add_to|remove_from|add|remove)_(.+)$/.exec(message) ?? [];
    if (!field) return fail('NOT_IMPLEMENTED', `${name}.${message}`);
    const before = this.db.get(name, ref);
    this.db.set(name, ref, { [field]: written(verb, before[field], values, { name, field, uuid: before.uuid }) });
    return '';
  }
}

const written = (verb, old, [first, second], { name, field, uuid }) => {
  switch (verb) {
    case 'set':
      return first;
    case 'add':
      return old.includes(first) ? old : [...old, first];
    case 'remove':
      return old.filter((item) => item !== first);
    case 'add_to':
      if (Object.hasOwn(old, first)) fail('MAP_DUPLICATE_KEY', name, field, uuid, first);
      return { ...old, [first]: second };
    default:
      return Object.fromEntries(Object.entries(old).filter(([key]) => key !== first));
  }
};
