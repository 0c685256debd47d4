import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Refused } from '../services/process.mjs';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** Something of ours, once it has been built. @param {string} path below the root */
export const built = (path) => import(pathToFileURL(join(ROOT, path)).href);

/** What clients see of the API. @param {{ listen: string, port: number, publicUrl?: string | undefined }} options */
export const publicUrlOf = ({ listen, port, publicUrl }) => {
  if (publicUrl) return publicUrl.replace(/\/+$/, '');
  const host = { '0.0.0.0': '127.0.0.1', '::': '[::1]' }[listen] ?? (listen.includes(':') ? `[${listen}]` : listen);
  return `http://${host}:${port}`;
};

/**
 * What the services are told of it: nothing, when each request that comes by a trusted proxy says it.
 * @param {Parameters<typeof publicUrlOf>[0]} options @param {string | undefined} proxies
 */
export const linkSettings = (options, proxies) =>
  options.publicUrl || !proxies ? { OMNIVISOR_PUBLIC_URL: publicUrlOf(options) } : {};

/** The folder that holds all that a cloud on this machine keeps. */
export const homeFolder = () => resolve(process.env.OMNIVISOR_HOME || `${ROOT}/.omnivisor`);

export const USAGE = `npm start -- [options]
  --detach          return once the cloud can be used; npm stop ends it
  --agents N        compute agents with real hypervisors (1)
  --fake-hosts N    compute agents that only pretend, for tests and the bench (0)
  --gateways N      replicas of the API, on the ports after --port (1)
  --listen ADDRESS  where the API listens (127.0.0.1)
  --port N          port of the API (8780)
  --public-url URL  what clients see of the API, when that is not its address
  --skip-bootstrap  make no demo project, network, flavors or image
  --skip-image      make no image`;

const whole = (name, text, least, most) => {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most)
    throw new Refused(`--${name} ${text}: a whole number from ${least} to ${most} is needed`);
  return value;
};

const url = (name, text) => {
  if (text !== undefined && !/^https?:$/.test(URL.canParse(text) ? new URL(text).protocol : ''))
    throw new Refused(`--${name} ${text}: an address that begins with http:// or https:// is needed`);
  return text;
};

/** Processors for guests alone: an agent sees the guests of no other. */
const SETS = ['OMNIVISOR_CPU_DEDICATED_SET', 'OMNIVISOR_CPU_SHARED_SET'];

/** @param {string[]} argv @param {NodeJS.ProcessEnv} [environment] the caller's */
export const startOptions = (argv, environment = process.env) => {
  let values;
  try {
    ({ values } = parseArgs({
      args: argv,
      options: {
        detach: { type: 'boolean', default: false },
        agents: { type: 'string', default: '1' },
        'fake-hosts': { type: 'string', default: '0' },
        gateways: { type: 'string', default: '1' },
        listen: { type: 'string', default: '127.0.0.1' },
        port: { type: 'string', default: '8780' },
        'public-url': { type: 'string' },
        'skip-bootstrap': { type: 'boolean', default: false },
        'skip-image': { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }));
  } catch (error) {
    throw new Refused(`${error.message}\n${USAGE}`);
  }
  const agents = whole('agents', values.agents, 0, 64);
  for (const name of agents > 1 ? SETS : [])
    if (environment[name])
      throw new Refused(
        `${name} is for one agent (--agents 1): several would give the same processors to their guests`,
      );
  return {
    detach: values.detach,
    agents,
    fakeHosts: whole('fake-hosts', values['fake-hosts'], 0, 64),
    gateways: whole('gateways', values.gateways, 1, 16),
    listen: values.listen,
    port: whole('port', values.port, 1, 65_535 - 16),
    publicUrl: url('public-url', values['public-url']),
    bootstrap: !values['skip-bootstrap'],
    image: !values['skip-bootstrap'] && !values['skip-image'],
    help: values.help,
  };
};
