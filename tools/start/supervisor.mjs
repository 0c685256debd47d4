import { spawn } from 'node:child_process';
import { closeSync, copyFileSync, openSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { Refused } from '../services/process.mjs';
import { beganAt } from './processes.mjs';

const LOG_LIMIT = 16 * 1024 * 1024;
const FIRST_DELAY = 250;
const LONGEST_DELAY = 15_000;
/** A service that ran so long has not failed at its start: its delay begins anew. */
const STEADY = 30_000;

/**
 * A service to keep running.
 * @typedef {object} Service
 * @property {string} name
 * @property {() => Promise<{ pid: number, exited: Promise<unknown>, stop: () => Promise<void> }>} start
 * @property {() => Promise<boolean>} [ready]
 */

/** Starts a program of ours with its output in `<log>/<name>.log`. Kept out of the terminal's group: Ctrl-C is for us. */
export const program = ({ name, log, command, args, env, user, cwd }) => ({
  name,
  start: async () => {
    const out = openSync(join(log, `${name}.log`), 'a', 0o600);
    const child = spawn(command, args, { cwd, env, detached: true, stdio: ['ignore', out, out], ...user });
    closeSync(out);
    const exited = new Promise((resolve) => {
      child.once('exit', resolve);
      child.once('error', resolve);
    });
    await new Promise((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    return {
      pid: /** @type {number} */ (child.pid),
      exited,
      stop: async () => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        child.kill('SIGTERM');
        const force = setTimeout(() => child.kill('SIGKILL'), 20_000);
        await exited;
        clearTimeout(force);
      },
    };
  },
});

/** Runs services, starts those again that end, and tells `changed` of each change. */
export class Supervisor {
  #services = [];
  #stopping = false;
  #rotation;

  /** @param {{ log: string, say: (line: string) => void, changed: (services: import('./state.mjs').ServiceState[]) => void }} options */
  constructor({ log, say, changed }) {
    this.log = log;
    this.say = say;
    this.changed = changed;
    this.#rotation = setInterval(() => this.#rotate(), 30_000);
    this.#rotation.unref();
  }

  states() {
    return this.#services.map(({ service, pid, began, state, restarts }) => ({
      name: service.name,
      pid,
      began,
      state,
      restarts,
    }));
  }

  /**
   * Starts a service and resolves once it is ready.
   * @param {Service} service
   * @param {number} timeout
   */
  async run(service, timeout = 60_000) {
    if (this.#stopping) throw new Error('stopped');
    const entry = {
      service,
      pid: null,
      began: null,
      state: 'starting',
      restarts: 0,
      delay: FIRST_DELAY,
      process: null,
      beginning: null,
    };
    this.#services.push(entry);
    await this.#start(entry);
    const end = Date.now() + timeout;
    while (service.ready && !(await service.ready())) {
      if (this.#stopping) throw new Error('stopped');
      if (entry.restarts >= 3 || Date.now() > end)
        throw new Refused(`${service.name} does not come up; see ${join(this.log, `${service.name}.log`)}`);
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
    this.#set(entry, 'running');
  }

  async #start(entry) {
    entry.beginning = entry.service.start();
    entry.process = await entry.beginning;
    entry.pid = entry.process.pid;
    entry.began = beganAt(entry.pid);
    entry.since = Date.now();
    this.#set(entry, entry.state === 'restarting' ? 'running' : entry.state);
    entry.process.exited
      .then((code) => this.#ended(entry, code))
      .catch((error) => this.say(`${entry.service.name}: ${error.message}`));
  }

  #set(entry, state) {
    entry.state = state;
    this.changed(this.states());
  }

  async #ended(entry, code) {
    entry.pid = null;
    entry.began = null;
    if (this.#stopping) return this.#set(entry, 'stopped');
    if (Date.now() - entry.since > STEADY) entry.delay = FIRST_DELAY;
    entry.restarts += 1;
    if (entry.state !== 'starting') this.#set(entry, 'restarting');
    this.say(`${entry.service.name} ended (${code ?? 'by a signal'}); starting it again in ${entry.delay} ms`);
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, entry.delay));
      entry.delay = Math.min(entry.delay * 2, LONGEST_DELAY);
      if (this.#stopping) return this.#set(entry, 'stopped');
      try {
        return await this.#start(entry);
      } catch (error) {
        this.say(`${entry.service.name} did not start: ${error.message}; again in ${entry.delay} ms`);
      }
    }
  }

  /** Ends one, also one that is just being started. */
  async #end(entry) {
    await entry.beginning?.catch(() => {});
    if (entry.process) await entry.process.stop();
    this.#set(entry, 'stopped');
  }

  /** Ends all, the last one first; those of one kind together. */
  async stop() {
    this.#stopping = true;
    clearInterval(this.#rotation);
    const groups = [];
    for (const entry of [...this.#services].reverse()) {
      const kind = entry.service.name.replace(/-\d+$/, '');
      if (groups.at(-1)?.kind === kind) groups.at(-1).entries.push(entry);
      else groups.push({ kind, entries: [entry] });
    }
    for (const { entries } of groups) await Promise.all(entries.map((entry) => this.#end(entry)));
  }

  /** Output is appended to open files, so a log is copied away and cut, never moved. */
  #rotate() {
    for (const { service } of this.#services) {
      const file = join(this.log, `${service.name}.log`);
      try {
        if (statSync(file).size < LOG_LIMIT) continue;
        copyFileSync(file, `${file}.1`);
        truncateSync(file);
      } catch (error) {
        if (error.code !== 'ENOENT') this.say(`rotating ${file}: ${error.message}`);
      }
    }
  }
}
