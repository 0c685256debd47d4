#!/usr/bin/env node
/**
 * node tools/doubles/xapi/main.mjs SETTINGS.json: the XAPI double as a program; README.md says what the settings are
 *
 * Prints one line when it listens: {"url", "control"}. SIGTERM stops it, guests go on. `POST <control>/<name>` with an
 * array of arguments does what tests do behind the clients' backs: see `controls`.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { argumentsOf } from '../../arguments.mjs';
import { XapiDouble } from './double.mjs';

const [path] = argumentsOf(import.meta.url, { allowPositionals: true, needed: 'SETTINGS.json' }).positionals;
const double = await XapiDouble.start(JSON.parse(readFileSync(path, 'utf8')));

const controls = {
  addFault: (rule) => double.faults.add(rule),
  clearFaults: () => double.faults.clear(),
  cutMember: (n, how) => double.cutMember(n, how),
  changeMaster: (n) => double.changeMaster(double.host(n)),
  restartToolstack: () => double.restartToolstack(),
  moveVm: (uuid, n) => double.moveVm(uuid, n),
  stopFromInside: (uuid, how) => double.stopFromInside(uuid, how),
  ignorePowerButton: (uuid) => double.ignorePowerButton(uuid),
  reportGuest: (uuid, facts) => double.reportGuest(uuid, facts),
  serialLog: (uuid) => double.serialLog(uuid),
  stop: (how) => stop(how),
};

const control = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const name = (request.url ?? '').slice(1);
  try {
    if (!Object.hasOwn(controls, name)) throw new Error(`there is no control ${name}`);
    const result = await controls[name](...JSON.parse(Buffer.concat(parts).toString() || '[]'));
    response.end(JSON.stringify(result ?? null));
  } catch (error) {
    response.writeHead(400).end(error.message);
  }
});

const stop = async (how) => {
  await double.stop(how);
  control.close();
};
process.on('SIGTERM', () => void stop().then(() => process.exit(0)));

control.listen(0, '127.0.0.1', () => {
  const { port } = /** @type {import('node:net').AddressInfo} */ (control.address());
  console.log(JSON.stringify({ url: double.url(), control: `http://127.0.0.1:${port}` }));
});
