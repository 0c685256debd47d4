#!/usr/bin/env node
/** npm start: a cloud on this machine. See `npm start -- --help`. Uses only Node's own modules until npm ci has run. */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installDependencies } from './dependencies.mjs';
import { homeFolder, Refused, ROOT, startOptions, USAGE } from './options.mjs';
import { preflight, throughSudo } from './preflight.mjs';
import { Progress } from './progress.mjs';

const self = fileURLToPath(import.meta.url);
const inBackground = process.env.OMNIVISOR_DETACHED === '1';

/** Starts this program again in a session of its own and tells what it says until it is ready or has failed. */
const detach = (home) =>
  new Promise((resolve) => {
    mkdirSync(join(home, 'log'), { recursive: true });
    const log = openSync(join(home, 'log', 'supervisor.log'), 'a', 0o600);
    const args = process.argv.slice(2).filter((a) => a !== '--detach');
    const child = spawn(process.execPath, [self, ...args], {
      detached: true,
      stdio: ['ignore', log, log, 'ipc'],
      env: { ...process.env, OMNIVISOR_DETACHED: '1' },
    });
    closeSync(log);
    const end = (code) => {
      child.removeAllListeners();
      if (child.connected) child.disconnect();
      child.unref();
      resolve(code);
    };
    child.on('message', ({ line, ready, failed }) => {
      if (line) process.stdout.write(line);
      if (failed) console.error(failed);
      if (ready) end(0);
    });
    child.on('error', (error) => {
      console.error(error.message);
      end(1);
    });
    child.on('exit', (code) => {
      if (code !== 0) console.error(`the start failed; see ${join(home, 'log', 'supervisor.log')}`);
      end(code || 1);
    });
  });

/** Tells the process that waits for us, as long as it does. */
const tell = (message) => {
  if (process.connected) process.send?.(message, undefined, undefined, () => {});
};

const main = async () => {
  const options = startOptions(process.argv.slice(2));
  if (options.help) return console.log(USAGE);
  const home = homeFolder();
  if (!inBackground) {
    const status = throughSudo(options, process.argv.slice(1));
    if (status !== null) {
      process.exitCode = status;
      return;
    }
    await preflight(home, options);
  }
  const out = inBackground
    ? {
        isTTY: false,
        write: (text) => {
          process.stdout.write(text);
          tell({ line: text });
        },
      }
    : process.stdout;
  const progress = new Progress(/** @type {any} */ (out));
  if (!inBackground) await progress.step('npm packages', () => installDependencies(ROOT, { say: () => {} }));
  if (options.detach) {
    process.exitCode = await detach(home);
    return;
  }

  let stopCloud = async () => {};
  let stopping = false;
  const stop = async (signal) => {
    if (stopping) return;
    stopping = true;
    progress.say(`${signal}: stopping; guests go on running`);
    try {
      await stopCloud();
      process.exit(0);
    } catch (error) {
      console.error(`stopping: ${error.message}`);
      process.exit(1);
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => void stop(signal));
  const { bringUp, farewell } = await import('./run.mjs');
  const cloud = await bringUp(options, home, progress, (how) => {
    stopCloud = how;
  }).catch((error) => {
    if (stopping) return new Promise(() => {}); // the stop in progress ends this process
    throw error;
  });
  out.write(farewell(home, cloud.endpoint, progress.elapsed, inBackground));
  tell({ ready: true });
};

try {
  await main();
} catch (error) {
  const text = error instanceof Refused ? error.message : `${error.stack ?? error}`;
  console.error(`\n${text}`);
  tell({ failed: text });
  process.exit(1);
}
