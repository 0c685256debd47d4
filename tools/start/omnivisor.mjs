#!/usr/bin/env node
/** npm run omnivisor -- …: the command line, with the address and the key of the cloud of this machine. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { homeFolder, ROOT } from './options.mjs';
import { readState } from './state.mjs';

const main = join(ROOT, 'apps/cli/dist/main.js');
if (!existsSync(main)) {
  console.error('the command line is not built yet: run npm start once, or npm run build');
  process.exit(1);
}
const home = homeFolder();
const state = readState(home);
const credentials = join(home, 'cli.creds');
const env = {
  ...(state?.natsUrl ? { OMNIVISOR_NATS_URL: state.natsUrl } : {}),
  ...(existsSync(credentials) ? { OMNIVISOR_NATS_CREDS: credentials } : {}),
  OMNIVISOR_HOME: home,
  ...process.env,
};
const done = spawnSync(process.execPath, [main, ...process.argv.slice(2)], { stdio: 'inherit', env });
if (done.error) console.error(done.error.message);
process.exitCode = done.status ?? 1;
