#!/usr/bin/env node
/** npm run omnivisor -- …: the command line, with the address and the key of the cloud of this machine. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { backup, backupOptions } from '../backup/backup.mjs';
import { restore, restoreOptions } from '../backup/restore.mjs';
import { explain, Refused } from '../services/process.mjs';
import { homeFolder, ROOT } from './options.mjs';
import { readState, startedBy } from './state.mjs';
import { againAsRoot, canSudo, isRoot } from './sudo.mjs';

/** What is done to the files of this machine's cloud, whether it runs or not, and not by asking it. */
const LOCAL = {
  backup: { read: backupOptions, work: backup },
  restore: { read: restoreOptions, work: restore },
};
const name = process.argv[2] ?? '';
const local = Object.hasOwn(LOCAL, name) ? LOCAL[name] : undefined;
const options = local?.read(process.argv.slice(3));

const main = join(ROOT, 'apps/cli/dist/main.js');
if (!existsSync(main)) {
  console.error('the command line is not built yet: run npm start once, or npm run build');
  process.exit(1);
}
const home = homeFolder();
if (local) {
  process.umask(0o022);
  const owner = startedBy(home);
  try {
    if (isRoot() || owner === null || owner === process.getuid?.()) await local.work(options, home);
    else if (canSudo()) process.exit(await againAsRoot(process.argv.slice(1)));
    else
      throw new Refused(`the cloud in ${home} belongs to the user with uid ${owner}: run it as that one, or with sudo`);
  } catch (error) {
    console.error(`omnivisor: ${explain(error)}`);
    process.exit(1);
  }
  process.exit();
}
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
