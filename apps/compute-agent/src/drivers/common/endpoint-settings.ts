import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { z } from 'zod';
import type { Trust } from './trusted-socket.js';

/** Parts with commas between them. */
export const commaList = z
  .string()
  .default('')
  .transform((text) =>
    text
      .split(',')
      .map((part) => part.trim())
      .filter(Boolean),
  );

export const optionalText = z.string().min(1).optional();

const isThisMachine = (hostname: string): boolean =>
  hostname === 'localhost' || hostname === '[::1]' || (isIP(hostname) === 4 && hostname.startsWith('127.'));

/** `https://address`: a password goes over it, so it is encrypted wherever it leaves this machine. */
export const isEndpointAddress = (text: string): boolean => {
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  if (url.username !== '' || url.pathname !== '/' || url.search !== '') return false;
  return url.protocol === 'https:' || (url.protocol === 'http:' && isThisMachine(url.hostname));
};

/** SHA-256 of certificates. */
export const fingerprintList = commaList.pipe(
  z.array(z.string().regex(/^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$/, 'is not a SHA-256 fingerprint')),
);

/**
 * Physical networks, and what each is on the hypervisor: `physnet1=…,physnet2=…`.
 * @param target for the message
 */
export const physicalNetworksTo = (target: string) =>
  commaList.transform((pairs, context) => {
    const networks = new Map<string, string>();
    for (const pair of pairs) {
      const [, physical, name] = /^([^=]+)=(.+)$/.exec(pair) ?? [];
      if (physical === undefined || name === undefined || networks.has(physical))
        context.addIssue({ code: 'custom', message: `is not physical-network=${target},…` });
      else networks.set(physical, name);
    }
    return Object.fromEntries(networks);
  });

/**
 * @param file with certificates of authorities, PEM; the system's when not given
 * @throws Error when the file cannot be read
 */
export const trustOf = (fingerprints: readonly string[], file: string | undefined): Trust =>
  fingerprints.length > 0
    ? { kind: 'pinned', fingerprints }
    : { kind: 'authorities', pem: file === undefined ? null : readFileSync(file, 'utf8') };
