import { formatValue } from '../rpc/xml-rpc.mjs';
import { fail, XapiFailure } from './failure.mjs';
import { dateTime } from './types.mjs';

/** Work that clients can watch and cancel. */
export class Tasks {
  /** @param {import('./database.mjs').Database} database */
  constructor(database) {
    this.database = database;
    /** @type {Map<string, AbortController>} */
    this.controllers = new Map();
  }

  create(label, description, host) {
    const ref = this.database.create('task', {
      name_label: label,
      name_description: description,
      created: dateTime(),
      status: 'pending',
      resident_on: host,
      allowed_operations: ['cancel', 'destroy'],
      type: '<none/>',
    });
    this.controllers.set(ref, new AbortController());
    return ref;
  }

  /** Aborts when the task is cancelled. @param {string} ref @returns {AbortSignal} */
  signal(ref) {
    return this.controllers.get(ref)?.signal ?? AbortSignal.abort();
  }

  isPending(ref) {
    return this.database.has('task', ref) && ['pending', 'cancelling'].includes(this.database.get('task', ref).status);
  }

  progress(ref, part) {
    if (this.isPending(ref)) this.database.set('task', ref, { progress: Math.min(1, part) });
  }

  /** @param {string} ref @param {string} type of the result @param {unknown} value */
  succeed(ref, type, value) {
    const result = formatValue(type, value, this.database.schema);
    this.#settle(ref, { status: 'success', progress: 1, result });
  }

  /** @param {string} ref @param {unknown} error */
  fail(ref, error) {
    const { code, description } = XapiFailure.of(error);
    const status = code === 'TASK_CANCELLED' ? 'cancelled' : 'failure';
    this.#settle(ref, { status, progress: 1, error_info: description });
  }

  cancel(ref) {
    if (!this.isPending(ref)) fail('OPERATION_NOT_ALLOWED', 'The task is not pending');
    this.database.set('task', ref, { status: 'cancelling' });
    this.controllers.get(ref)?.abort();
  }

  destroy(ref) {
    this.database.destroy('task', ref);
    this.controllers.delete(ref);
  }

  /** The tool stack ends: what is under way is given up. */
  abandonAll() {
    for (const controller of this.controllers.values()) controller.abort();
    this.controllers.clear();
  }

  #settle(ref, changes) {
    if (!this.isPending(ref)) return;
    this.database.set('task', ref, { ...changes, finished: dateTime(), allowed_operations: ['destroy'] });
  }
}
