#!/usr/bin/env node
/** npm run status [-- --json]: what runs; with --json a list of {name, pid, state}. Exit status 0 when everything runs. */
import { argumentsOf } from '../arguments.mjs';
import { explain } from '../services/process.mjs';
import { homeFolder } from './options.mjs';
import { currentServices, readState } from './state.mjs';

const { values } = argumentsOf(import.meta.url, { options: { json: { type: 'boolean' } } });

const table = (services) => {
  const width = Math.max(...services.map((s) => s.name.length));
  return services.map(({ name, pid, state, restarts }) => {
    const again = restarts > 0 ? `, restarted ${restarts} times` : '';
    return `${name.padEnd(width)}  ${String(pid ?? '-').padStart(7)}  ${state}${again}`;
  });
};

try {
  const home = homeFolder();
  const state = readState(home);
  const services = currentServices(state);
  if (values.json) console.log(JSON.stringify(services, null, 2));
  else if (services.every((s) => s.pid === null)) console.log(`nothing is running (${home})`);
  else console.log([...table(services), `endpoint ${state?.endpoint}; logs in ${home}/log`].join('\n'));
  process.exitCode = services.length > 0 && services.every((s) => s.state === 'running') ? 0 : 3;
} catch (error) {
  console.error(explain(error));
  process.exitCode = 1;
}
