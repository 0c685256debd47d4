import { XapiFailure } from './failure.mjs';

/** Changes that come close together are told together. */
const BATCH = 5;

/** `*`, a class in any case, or `class/reference`. */
const subscriptionOf = (text) => {
  if (text === '*') return () => true;
  const [name, ref, ...more] = text.split('/');
  if (more.length > 0) throw new XapiFailure('EVENT_SUBSCRIPTION_PARSE_FAILURE', text);
  const lower = name.toLowerCase();
  return (change) => change.class.toLowerCase() === lower && (ref === undefined || change.ref === ref);
};

const tokenOf = (generation) => `${String(generation).padStart(20, '0')},${'0'.repeat(20)}`;
const generationOf = (token) => {
  if (token === '') return 0;
  const match = /^(\d+),(\d+)$/.exec(token);
  if (!match) throw new XapiFailure('EVENT_FROM_TOKEN_PARSE_FAILURE', token);
  return Number(match[1]);
};

/** `event.from`: what has changed since a token, or a wait for it. Changes of one object between two calls are one event. */
export class Events {
  /** @param {import('./database.mjs').Database} database @param {import('./sessions.mjs').Sessions} sessions */
  constructor(database, sessions) {
    this.database = database;
    /** @type {Map<object, { session: string, wake: () => void, end: (error: Error) => void }>} */
    this.waiting = new Map();
    this.batch = null;
    database.listeners.add(() => {
      if (this.batch === null && this.waiting.size > 0) this.batch = setTimeout(() => this.#wakeAll(), BATCH);
    });
    sessions.onEnd.add((ref) => {
      for (const { session, end } of this.waiting.values())
        if (session === ref) end(new XapiFailure('SESSION_INVALID', ref));
    });
  }

  /** @param {string} session @param {string[]} classes @param {string} token @param {number} timeout in seconds */
  async from(session, classes, token, timeout) {
    const subscriptions = classes.map(subscriptionOf);
    const since = generationOf(token);
    const deadline = Date.now() + timeout * 1000;
    for (;;) {
      const changes = this.database
        .changesSince(since)
        .filter((change) => subscriptions.some((matches) => matches(change)));
      const left = deadline - Date.now();
      if (changes.length > 0 || left <= 0) return this.#answer(changes, since);
      await this.#change(session, left);
    }
  }

  /** Changes nothing about the object but tells of it. @returns {string} the token just before that */
  inject(name, ref) {
    const real = this.database.schema.classNamed(name.toLowerCase());
    if (!this.database.tables.has(real) || !this.database.has(real, ref))
      throw new XapiFailure('HANDLE_INVALID', name, ref);
    return tokenOf(this.database.touch(real, ref) - 1);
  }

  /** Answers those who wait now: the tool stack stops. */
  close(error) {
    for (const { end } of this.waiting.values()) end(error);
  }

  #wakeAll() {
    this.batch = null;
    for (const { wake } of this.waiting.values()) wake();
  }

  #answer(changes, since) {
    const last = changes.reduce((newest, { at }) => Math.max(newest, at), since);
    const counts = {};
    for (const [name, rows] of this.database.tables) counts[name.toLowerCase()] = rows.size;
    const events = changes.map(({ kind, class: name, ref, at }) => ({
      id: String(at),
      timestamp: '0.0',
      class: name.toLowerCase(),
      operation: kind,
      ref,
      ...(kind === 'del' ? {} : { snapshot: this.database.view(name, ref) }),
    }));
    return { events, valid_ref_counts: counts, token: tokenOf(last) };
  }

  /** Resolves at the next change of anything, or when the time is up. */
  #change(session, milliseconds) {
    const key = {};
    let timer;
    return new Promise((resolve, reject) => {
      timer = setTimeout(resolve, milliseconds);
      this.waiting.set(key, { session, wake: resolve, end: reject });
    }).finally(() => {
      clearTimeout(timer);
      this.waiting.delete(key);
    });
  }
}
