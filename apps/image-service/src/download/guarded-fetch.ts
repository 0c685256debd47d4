import type { LookupAddress } from 'node:dns';
import { lookup } from 'node:dns/promises';
import { get as httpGet, type IncomingMessage } from 'node:http';
import { get as httpsGet } from 'node:https';
import { isIP } from 'node:net';
import { DomainError, invalid, unavailable } from '@omnivisor/contracts';
import { checkedUri, type ImportRules, isAllowedAddress, literalAddress } from './guarded-uri.js';

const MAX_REDIRECTS = 5;
const ANSWER_DEADLINE = 30_000;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** Addresses of a name; the operating system's resolver when not given. */
export type Resolve = (name: string) => Promise<readonly LookupAddress[]>;
const systemResolve: Resolve = (name) => lookup(name, { all: true, verbatim: true });

const addressesOf = async (uri: URL, resolve: Resolve): Promise<readonly LookupAddress[]> => {
  const literal = literalAddress(uri);
  if (literal !== undefined) return [{ address: literal, family: isIP(literal) }];
  try {
    return await resolve(uri.hostname);
  } catch (error) {
    throw unavailable('The host of the URI cannot be found.', error);
  }
};

/** Asks the very address that was checked: a name server may say something else a moment later. */
const ask = (uri: URL, { address, family }: LookupAddress, signal: AbortSignal): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    const get = uri.protocol === 'https:' ? httpsGet : httpGet;
    const request = get(
      uri,
      {
        agent: false,
        signal,
        headers: { 'accept-encoding': 'identity', 'user-agent': 'omnivisor-image-service' },
        lookup: (_name, options, done) =>
          options.all ? done(null, [{ address, family }]) : done(null, address, family),
      },
      (response) => {
        request.setTimeout(0);
        resolve(response);
      },
    );
    request.setTimeout(ANSWER_DEADLINE, () => request.destroy(new Error('no answer in time')));
    request.once('error', reject);
  });

/**
 * The bytes behind a URI of somebody we do not trust. Every hop is checked like the first, and every address it resolves
 * to.
 * @param maxBytes a longer answer is refused before it is read
 * @throws DomainError `invalid` for what is not allowed, `tooLarge`, `unavailable`
 */
export const guardedFetch = async (
  first: URL,
  rules: ImportRules,
  maxBytes: number,
  signal: AbortSignal,
  resolve: Resolve = systemResolve,
): Promise<IncomingMessage> => {
  let uri = first;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const addresses = await addressesOf(uri, resolve);
    if (addresses.length === 0 || !addresses.every((a) => isAllowedAddress(a.address, rules)))
      throw invalid('URI for web-download does not pass filtering: its address is not allowed');
    const response = await ask(uri, addresses[0]!, signal).catch((error) => {
      throw unavailable('The host of the URI does not answer.', error);
    });
    const status = response.statusCode ?? 0;
    if (status === 200) {
      if (Number(response.headers['content-length'] ?? 0) <= maxBytes) return response;
      response.destroy();
      throw new DomainError('tooLarge', 'The image behind the URI is larger than this cloud allows.');
    }
    response.destroy();
    if (!REDIRECTS.has(status) || !response.headers.location)
      throw unavailable(`The host of the URI answered with status ${status}.`);
    uri = checkedUri(redirected(response.headers.location, uri), rules);
  }
  throw invalid('The URI is redirected too often.');
};

const redirected = (location: string, from: URL): unknown =>
  URL.canParse(location, from.href) ? new URL(location, from).href : undefined;
