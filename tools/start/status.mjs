#!/usr/bin/env node
/** npm run status: what runs. `-- --json`: a list of {name, pid, state}. Exit status 0 when everything runs. */
import { homeFolder } from './options.mjs';
import { currentServices, readState } from './state.mjs';

const home = homeFolder();
const state = readState(home);
const services = currentServices(state);
if (process.argv.includes('--json')) console.log(JSON.stringify(services, null, 2));
else if (services.every((s) => s.pid === null)) console.log(`nothing is running (${home})`);
else {
  const width = Math.max(...services.map((s) => s.name.length));
  for (const s of services)
    console.log(
      `${s.name.padEnd(width)}  ${String(s.pid ?? '-').padStart(7)}  ${s.state}${s.restarts > 0 ? `, restarted ${s.restarts} times` : ''}`,
    );
  console.log(`endpoint ${state?.endpoint}; logs in ${home}/log`);
}
process.exitCode = services.length > 0 && services.every((s) => s.state === 'running') ? 0 : 3;
