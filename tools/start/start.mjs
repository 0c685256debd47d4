#!/usr/bin/env node
/**
 * npm start -- [options]: a cloud on this machine
 *
 *   --detach          return once the cloud can be used; npm stop ends it
 *   --agents N        compute agents with real hypervisors (1)
 *   --fake-hosts N    compute agents that only pretend, for tests and the bench (0)
 *   --gateways N      replicas of the API, on the ports after --port (1)
 *   --listen ADDRESS  where the API listens (127.0.0.1)
 *   --port N          port of the API (8780)
 *   --public-url URL  what clients see of the API, when that is not its address
 *   --skip-bootstrap  make no demo project, network, flavors or image
 *   --skip-image      make no image
 */
// Only Node's own modules until npm ci has run.
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { argumentsOf } from '../arguments.mjs';
import { explain } from '../services/process.mjs';
import { makeHome } from './home.mjs';
import { homeFolder, START, startOptions } from './options.mjs';
import { preflight } from './preflight.mjs';
import { Progress } from './progress.mjs';
import { bringUp, farewell } from './run.mjs';
import { againAsRoot, canSudo, isRoot, onCallerGone } from './sudo.mjs';

const self = fileURLToPath(import.meta.url);
/** How the one in the background tells the one that waits for it: `tty` or `plain`. */
const background = process.env.OMNIVISOR_DETACHED;

/** Calls `then` with the reason when this start is to end. */
const onEnd = (then) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => then(signal));
  onCallerGone(() => then('the caller has ended'));
};

/** Starts this program again in a session of its own and tells what it says until it is ready or has failed. */
const detach = (home) =>
  new Promise((resolve) => {
    const log = join(home, 'log', 'supervisor.log');
    makeHome(home);
    const output = openSync(log, 'a', 0o600);
    const child = spawn(process.execPath, [self, ...process.argv.slice(2)], {
      detached: true,
      stdio: ['ignore', output, output, 'ipc'],
      env: { ...process.env, OMNIVISOR_DETACHED: process.stdout.isTTY ? 'tty' : 'plain' },
    });
    closeSync(output);
    onEnd(() => child.kill('SIGTERM'));
    const end = (code) => {
      child.removeAllListeners();
      if (child.connected) child.disconnect();
      child.unref();
      resolve(code);
    };
    child.on('message', ({ text, ready, failed }) => {
      if (text) process.stdout.write(text);
      if (failed) console.error(failed);
      if (ready) end(0);
    });
    child.on('error', (error) => {
      console.error(error.message);
      end(1);
    });
    child.on('exit', (code) => {
      console.error(`the start failed; see ${log}`);
      end(code || 1);
    });
  });

/** Tells the process that waits for us, as long as it does. @returns {Promise<void>} */
const tell = (message) =>
  new Promise((resolve) => {
    if (process.connected) process.send?.(message, undefined, undefined, () => resolve());
    else resolve();
  });

const start = async (options, home) => {
  const waiting = { isTTY: background === 'tty', write: (text) => void tell({ text }) };
  const outs = background ? [{ write: (text) => process.stdout.write(text) }, waiting] : [process.stdout];
  const progress = new Progress(...outs);
  const ending = new AbortController();
  const started = bringUp(options, home, progress, ending.signal);
  const end = async (status) => {
    ending.abort(new Error('stopped before the cloud was ready'));
    const cloud = await started.catch(() => null); // a start that fails has cleaned up after itself
    if (!cloud && status === 0) return; // and says why by itself
    await cloud?.stop();
    process.exit(status);
  };
  onEnd((reason) => {
    if (ending.signal.aborted) return;
    progress.say(`${reason}: stopping; guests go on running`);
    void end(0);
  });
  process.on('uncaughtException', (error) => {
    console.error(error);
    if (!ending.signal.aborted) void end(1);
  });
  const cloud = await started;
  for (const out of outs) out.write(farewell(home, cloud.endpoint, progress.elapsed, background !== undefined));
  await tell({ ready: true });
};

const main = async () => {
  const { values } = argumentsOf(import.meta.url, { options: START });
  const options = startOptions(values);
  const home = homeFolder();
  if (options.agents > 0 && !isRoot() && canSudo()) {
    process.exitCode = await againAsRoot(process.argv.slice(1));
    return;
  }
  process.umask(0o022); // what others have to read, they can; secrets have modes of their own
  if (background) return start(options, home);
  await preflight(home, options);
  if (!options.detach) return start(options, home);
  process.exitCode = await detach(home);
};

try {
  await main();
} catch (error) {
  console.error(`\n${explain(error)}`);
  await tell({ failed: explain(error) });
  process.exit(1);
}
