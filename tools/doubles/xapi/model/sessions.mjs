import { fail } from './failure.mjs';
import { dateTime } from './types.mjs';

/** Each role may do what the one before it may. */
const ROLES = ['read-only', 'vm-operator', 'vm-admin', 'vm-power-admin', 'pool-operator', 'pool-admin'];

export const mayDo = (role, needed) => needed === '' || ROLES.indexOf(role) >= ROLES.indexOf(needed);

/** Who is logged in, and what they may do. Sessions belong to the pool: its master makes them, every member knows them. */
export class Sessions {
  /**
   * @param {import('./database.mjs').Database} database
   * @param {{ name: string, password: string, role: string }[]} users
   */
  constructor(database, users) {
    for (const { role } of users) if (!ROLES.includes(role)) throw new Error(`there is no role ${role}`);
    this.database = database;
    this.users = users;
    /** @type {Set<(ref: string) => void>} */
    this.onEnd = new Set();
  }

  login(name, password, host, originator = '') {
    const user = this.users.find((u) => u.name === name && u.password === password);
    if (!user) fail('SESSION_AUTHENTICATION_FAILED', name, 'Authentication failure');
    return this.database.create('session', {
      this_host: host,
      auth_user_name: name,
      originator,
      is_local_superuser: user.role === 'pool-admin',
      last_active: dateTime(),
      validation_time: dateTime(),
    });
  }

  /** @param {unknown} ref @returns {{ ref: string, name: string, role: string }} */
  check(ref) {
    if (!this.database.has('session', ref)) fail('SESSION_INVALID', String(ref));
    const name = this.database.get('session', ref).auth_user_name;
    return { ref: String(ref), name, role: this.users.find((u) => u.name === name)?.role ?? 'read-only' };
  }

  /** @param {{ role: string }} session @param {string} action the call, or `http/…` @param {string} needed the lowest role */
  authorize(session, action, needed) {
    if (mayDo(session.role, needed)) return;
    const allowed = ROLES.filter((role) => mayDo(role, needed))
      .reverse()
      .join(', ');
    const message = `No permission in user session. (Roles with this permission: ${allowed})`;
    fail('RBAC_PERMISSION_DENIED', action.toLowerCase(), message);
  }

  /** Another session of the same user. */
  copy(ref) {
    const { this_host, auth_user_name, is_local_superuser } = this.database.get('session', ref);
    return this.database.create('session', { this_host, auth_user_name, is_local_superuser, last_active: dateTime() });
  }

  logout(ref) {
    this.database.destroy('session', ref);
    for (const listener of this.onEnd) listener(ref);
  }

  /** What a restart of the tool stack or a long silence does to them. */
  expireAll() {
    for (const ref of this.database.refs('session')) this.logout(ref);
  }
}

export { ROLES };
