import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Refused } from '../services/process.mjs';
import { isAlive } from './processes.mjs';

/**
 * What a run writes down about itself, for status and stop.
 * @typedef {import('./processes.mjs').ProcessIdentity} ProcessIdentity
 * @typedef {{ name: string, pid: number | null, began: string | null, state: 'starting' | 'running' | 'restarting' | 'stopped', restarts: number }} ServiceState
 * @typedef {{ supervisor: ProcessIdentity, endpoint: string, natsUrl?: string, ready: boolean, services: ServiceState[] }} RunState
 */

const file = (home) => join(home, 'run', 'state.json');

/** @param {string} home @returns {RunState | null} */
export const readState = (home) => {
  let text;
  try {
    text = readFileSync(file(home), 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    if (error.code === 'EACCES')
      throw new Refused(`no right to look into ${home}: choose a folder of yours, or use sudo`);
    throw error;
  }
  try {
    return JSON.parse(text);
  } catch {
    return null; // cut short by a full disk: as good as none
  }
};

/** @param {string} home @param {RunState} state */
export const writeState = (home, state) => {
  mkdirSync(dirname(file(home)), { recursive: true });
  writeFileSync(`${file(home)}.new`, `${JSON.stringify(state, null, 1)}\n`, { mode: 0o644 });
  renameSync(`${file(home)}.new`, file(home));
};

export const clearState = (home) => rmSync(file(home), { force: true });

/** Uid of whoever runs the cloud there; null when there is none. @param {string} home */
export const startedBy = (home) => statSync(dirname(file(home)), { throwIfNoEntry: false })?.uid ?? null;

/** Processes of a run that are still there, its supervisor included. @param {RunState | null} state @returns {ProcessIdentity[]} */
export const livingProcesses = (state) => (state ? [state.supervisor, ...state.services].filter(isAlive) : []);

/** Each service as it is now, not as it was when somebody wrote it down. @param {RunState | null} state */
export const currentServices = (state) =>
  state === null
    ? []
    : [
        { name: 'supervisor', ...state.supervisor, state: /** @type {const} */ ('running'), restarts: 0 },
        ...state.services,
      ].map(({ name, pid, began, state: said, restarts }) => {
        const alive = isAlive({ pid, began });
        return {
          name,
          pid: alive ? pid : null,
          state: alive ? said : said === 'restarting' ? said : 'stopped',
          restarts,
        };
      });
