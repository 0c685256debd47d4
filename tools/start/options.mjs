import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { whole } from '../arguments.mjs';
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

const address = (text) => {
  if (/^https?:$/.test(URL.canParse(text) ? new URL(text).protocol : '')) return text;
  throw new Refused('an address that begins with http:// or https:// is needed');
};

/** What npm start can be asked for. */
export const START = {
  detach: { type: 'boolean', default: false },
  agents: { type: 'string', default: '1', read: whole(0, 64) },
  'fake-hosts': { type: 'string', default: '0', read: whole(0, 64) },
  gateways: { type: 'string', default: '1', read: whole(1, 16) },
  listen: { type: 'string', default: '127.0.0.1' },
  port: { type: 'string', default: '8780', read: whole(1, 65_535 - 16) },
  'public-url': { type: 'string', read: address },
  'skip-bootstrap': { type: 'boolean', default: false },
  'skip-image': { type: 'boolean', default: false },
};

/** Processors for guests alone: an agent sees the guests of no other. */
const SETS = ['OMNIVISOR_CPU_DEDICATED_SET', 'OMNIVISOR_CPU_SHARED_SET'];

/** @param {any} values of START @param {NodeJS.ProcessEnv} [environment] the caller's */
export const startOptions = (values, environment = process.env) => {
  for (const name of values.agents > 1 ? SETS : [])
    if (environment[name])
      throw new Refused(
        `${name} is for one agent (--agents 1): several would give the same processors to their guests`,
      );
  return {
    detach: values.detach,
    agents: values.agents,
    fakeHosts: values['fake-hosts'],
    gateways: values.gateways,
    listen: values.listen,
    port: values.port,
    publicUrl: values['public-url'],
    bootstrap: !values['skip-bootstrap'],
    image: !values['skip-bootstrap'] && !values['skip-image'],
  };
};
