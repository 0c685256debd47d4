import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { isTls } from '../nats/tls.js';

/** What a cloud is for: in `production` nothing goes unencrypted to where others may listen. */
export const profile = z.enum(['development', 'production']).default('development');

const isLoopback = (host: string): boolean =>
  host === '' || host === 'localhost' || (ipaddr.isValid(host) && ipaddr.process(host).range() === 'loopback');

const hostOf = (url: string): string => new URL(url).hostname.replace(/^\[|\]$/g, '');

/** What is wrong with an address of NATS in production; undefined when nothing is. */
const natsProblem = (settings: Readonly<Record<string, unknown>>): string | undefined => {
  for (const server of String(settings.OMNIVISOR_NATS_URL).split(',')) {
    const given = server.trim();
    const url = given.includes('://') ? given : `nats://${given}`;
    if (!URL.canParse(url)) return 'is no URL';
    const host = hostOf(url);
    if (isLoopback(host)) continue;
    if (!isTls(url) && settings.OMNIVISOR_NATS_CA_FILE === undefined)
      return 'is not encrypted, as production asks for: name it by tls://';
    if (isIP(host) !== 0) return 'has an address for a name: a certificate is of a name';
  }
  return undefined;
};

const databaseProblem = (url: string): string | undefined => {
  if (!URL.canParse(url)) return 'is no URL';
  const parsed = new URL(url);
  const host = parsed.searchParams.get('host') ?? decodeURIComponent(hostOf(url));
  if (host.startsWith('/') || isLoopback(host) || parsed.searchParams.get('sslmode') === 'verify-full')
    return undefined;
  return 'is not encrypted, as production asks for: add sslmode=verify-full (and sslrootcert=…)';
};

/** A configuration with `OMNIVISOR_PROFILE` that is refused in production when a connection is not encrypted. */
export const encrypted = <S extends z.ZodObject>(schema: S): S =>
  schema.superRefine((settings: Record<string, unknown>, context) => {
    if (settings.OMNIVISOR_PROFILE !== 'production') return;
    const nats = natsProblem(settings);
    const database = settings.OMNIVISOR_DATABASE_URL;
    const say = (name: string, message: string) => context.addIssue({ code: 'custom', path: [name], message });
    if (nats !== undefined) say('OMNIVISOR_NATS_URL', nats);
    const problem = typeof database === 'string' ? databaseProblem(database) : undefined;
    if (problem !== undefined) say('OMNIVISOR_DATABASE_URL', problem);
  }) as S;
