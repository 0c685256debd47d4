#!/usr/bin/env node
/**
 * Makes or updates the log and the services' logins; may run any number of times, and before or after any release.
 *   OMNIVISOR_OWNER_URL_FILE           file with the address of the database as its owner
 *   OMNIVISOR_ROLE_PASSWORD_FOLDER     one file for each login, named after it
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { migrate } from '../libs/eventsourcing/dist/postgres/index.js';
import { ROLES } from './roles.mjs';

const needed = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
};

const folder = needed('OMNIVISOR_ROLE_PASSWORD_FOLDER');
const roles = ROLES.map((r) => ({ ...r, password: readFileSync(join(folder, r.role), 'utf8').trim() }));
await migrate(readFileSync(needed('OMNIVISOR_OWNER_URL_FILE'), 'utf8').trim(), roles);
console.log(`the log and ${roles.length} logins are ready`);
