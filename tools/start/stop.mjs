#!/usr/bin/env node
/**
 * npm stop [-- --guests]: ends the control plane and leaves the guests running; --guests powers them off first, and takes
 * their networks away.
 */
import { argumentsOf } from '../arguments.mjs';
import { explain, Refused } from '../services/process.mjs';
import { powerOffGuests, removeNetworks } from './guests.mjs';
import { homeFolder } from './options.mjs';
import { endAll, isAlive, signal, untilGone } from './processes.mjs';
import { clearState, livingProcesses, readState, startedBy } from './state.mjs';
import { againAsRoot, canSudo, isRoot } from './sudo.mjs';

const { guests } = argumentsOf(import.meta.url, { options: { guests: { type: 'boolean' } } }).values;

const endServices = async (home, state) => {
  if (isAlive(state.supervisor)) {
    signal(state.supervisor, 'SIGTERM');
    if (!(await untilGone([state.supervisor], 60_000))) await endAll([state.supervisor], 0);
  }
  // What outlived its supervisor, after a kill -9 of it: the services first, then what they lean on.
  const rest = readState(home)?.services ?? state.services;
  for (const group of [rest.filter((s) => !['postgres', 'nats'].includes(s.name)), rest])
    await endAll(group.filter(isAlive));
};

const stop = async (home) => {
  const state = readState(home);
  if (guests) await powerOffGuests(home, state, (line) => console.log(line));
  const living = state !== null && livingProcesses(state).length > 0;
  if (living) await endServices(home, state);
  clearState(home);
  if (guests) await removeNetworks(home, (line) => console.log(line));
  if (!living) console.log('nothing is running');
  else console.log(`stopped${guests ? '' : '; guests go on running (npm stop -- --guests powers them off)'}`);
};

try {
  const home = homeFolder();
  const owner = startedBy(home);
  if (isRoot() || owner === null || owner === process.getuid?.()) await stop(home);
  else if (canSudo()) process.exitCode = await againAsRoot(process.argv.slice(1));
  else
    throw new Refused(`the cloud in ${home} belongs to the user with uid ${owner}: run it as that one, or with sudo`);
} catch (error) {
  console.error(explain(error));
  process.exitCode = 1;
}
