#!/usr/bin/env node
import { powerOffGuests } from './guests.mjs';
/** npm stop: ends the control plane and leaves the guests running; `-- --guests` powers them off first. */
import { homeFolder } from './options.mjs';
import { endAll, isAlive, signal, untilGone } from './processes.mjs';
import { clearState, livingProcesses, readState } from './state.mjs';

const guests = process.argv.includes('--guests');
const unknown = process.argv.slice(2).filter((a) => a !== '--guests');
if (unknown.length > 0) {
  console.error(`unknown option ${unknown.join(' ')}; known is --guests`);
  process.exit(2);
}

const home = homeFolder();
const state = readState(home);
try {
  if (guests) await powerOffGuests(home, state, (line) => console.log(line));
  if (state === null || livingProcesses(state).length === 0) {
    console.log('nothing is running');
    clearState(home);
  } else {
    if (isAlive(state.supervisor)) {
      signal(state.supervisor, 'SIGTERM');
      if (!(await untilGone([state.supervisor], 60_000))) await endAll([state.supervisor], 0);
    }
    // What outlived its supervisor, after a kill -9 of it: the services first, then what they lean on.
    const rest = readState(home)?.services ?? state.services;
    for (const group of [rest.filter((s) => !['postgres', 'nats'].includes(s.name)), rest])
      await endAll(group.filter(isAlive));
    clearState(home);
    console.log(`stopped${guests ? '' : '; guests go on running (npm stop -- --guests powers them off)'}`);
  }
} catch (error) {
  console.error(
    error.code === 'EPERM'
      ? 'these processes belong to another user: run it as who started them, or with sudo'
      : error.message,
  );
  process.exit(1);
}
