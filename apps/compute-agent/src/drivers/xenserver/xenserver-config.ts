import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';
import type { Trust } from './transport/trust.js';
import type { XenServerOptions } from './xenserver.driver.js';

const list = z
  .string()
  .default('')
  .transform((text) =>
    text
      .split(',')
      .map((part) => part.trim())
      .filter(Boolean),
  );

const isThisMachine = (hostname: string): boolean =>
  hostname === 'localhost' || hostname === '[::1]' || (isIP(hostname) === 4 && hostname.startsWith('127.'));

/** A session's password goes over it, so it is encrypted wherever it leaves this machine. */
const isMember = (text: string): boolean => {
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  if (url.username !== '' || url.pathname !== '/' || url.search !== '') return false;
  return url.protocol === 'https:' || (url.protocol === 'http:' && isThisMachine(url.hostname));
};

const optional = z.string().min(1).optional();

/** Environment of an agent that drives a pool of XenServer or XCP-ng. */
export const XenServerSettings = z.object({
  /** Members of the pool, `https://address,…`: any of them leads to the master. */
  OMNIVISOR_XENSERVER_URLS: list.pipe(z.array(z.string().refine(isMember, 'is not https://address'))),
  OMNIVISOR_XENSERVER_USER: z.string().default('omnivisor'),
  OMNIVISOR_XENSERVER_PASSWORD_FILE: z.string().default('/etc/omnivisor/xenserver_password'),
  /** Authorities that sign the members' certificates, PEM; the system's when neither this nor fingerprints are given. */
  OMNIVISOR_XENSERVER_CA_FILE: optional,
  /** SHA-256 of each member's certificate: then these are trusted and no others. */
  OMNIVISOR_XENSERVER_FINGERPRINTS: list.pipe(
    z.array(z.string().regex(/^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$/, 'is not a SHA-256 fingerprint')),
  ),
  /** UUID, name or address of the member that is the host; the whole pool is one host when not given. Never change it. */
  OMNIVISOR_XENSERVER_MEMBER: optional,
  /** UUID or name of the storage repository for disks; the pool's default when not given. */
  OMNIVISOR_XENSERVER_SR: optional,
  /** UUID or name of the template that says what a guest's platform is. */
  OMNIVISOR_XENSERVER_TEMPLATE: optional,
  /** Physical networks, and the network or the members' interface that each is: `physnet1=eth1,…`. */
  OMNIVISOR_XENSERVER_NETWORKS: list.transform((pairs, context) => {
    const networks = new Map<string, string>();
    for (const pair of pairs) {
      const [, physical, target] = /^([^=]+)=(.+)$/.exec(pair) ?? [];
      if (physical === undefined || target === undefined || networks.has(physical))
        context.addIssue({ code: 'custom', message: 'is not physical-network=interface,…' });
      else networks.set(physical, target);
    }
    return Object.fromEntries(networks);
  }),
  /** Whether VLANs that the pool lacks are made. */
  OMNIVISOR_XENSERVER_CREATE_VLANS: z.stringbool().default(false),
});
export type XenServerSettings = z.output<typeof XenServerSettings>;

const trustOf = (settings: XenServerSettings): Trust => {
  const { OMNIVISOR_XENSERVER_FINGERPRINTS: fingerprints, OMNIVISOR_XENSERVER_CA_FILE: file } = settings;
  if (fingerprints.length > 0) return { kind: 'pinned', fingerprints };
  return { kind: 'authorities', pem: file === undefined ? null : readFileSync(file, 'utf8') };
};

/** @throws Error when a file that it names cannot be read */
export const xenserverOptions = (settings: XenServerSettings, cloudId: string, stateDir: string): XenServerOptions => {
  const urls = settings.OMNIVISOR_XENSERVER_URLS;
  return {
    cloudId,
    stateDir: join(stateDir, 'xenserver'),
    access: {
      urls,
      user: settings.OMNIVISOR_XENSERVER_USER,
      password: urls.length === 0 ? '' : readFileSync(settings.OMNIVISOR_XENSERVER_PASSWORD_FILE, 'utf8').trim(),
      trust: trustOf(settings),
    },
    member: settings.OMNIVISOR_XENSERVER_MEMBER ?? null,
    repository: settings.OMNIVISOR_XENSERVER_SR ?? null,
    template: settings.OMNIVISOR_XENSERVER_TEMPLATE ?? null,
    physicalNetworks: settings.OMNIVISOR_XENSERVER_NETWORKS,
    createVlans: settings.OMNIVISOR_XENSERVER_CREATE_VLANS,
  };
};
