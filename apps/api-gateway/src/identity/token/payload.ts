import { randomBytes } from 'node:crypto';
import { type Packed, pack, unpack } from './msgpack.js';

/** What a token itself carries; everything else is looked up. The bytes are Keystone's. */
export interface TokenPayload {
  readonly userId: string;
  readonly methods: readonly string[];
  readonly scope: TokenScope;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
  /** The token's own audit id, then that of the first of its chain. */
  readonly auditIds: readonly string[];
  readonly applicationCredentialId: string | null;
}

export type TokenScope =
  | { readonly kind: 'unscoped' }
  | { readonly kind: 'project' | 'domain'; readonly id: string }
  | { readonly kind: 'system' };

/** In Keystone's order: the bits of the payload's method set. */
const METHODS = ['external', 'password', 'token', 'oauth1', 'mapped', 'application_credential'];

/** Methods in the order that a payload keeps. */
export const inOrder = (methods: readonly string[]): string[] => METHODS.filter((m) => methods.includes(m));

const UNSCOPED = 0;
const DOMAIN = 1;
const PROJECT = 2;
const SYSTEM = 8;
const CREDENTIAL = 9;

const HEX = /^[0-9a-f]{32}$/;
/** A pair of "is a UUID in bytes" and the id. */
const idPair = (id: string): Packed => (HEX.test(id) ? [true, Buffer.from(id, 'hex')] : [false, id]);
const idBare = (id: string): Packed => (HEX.test(id) ? Buffer.from(id, 'hex') : id);

const readId = (value: Packed | undefined): string => {
  const id = Array.isArray(value) ? (value as readonly Packed[])[1] : value;
  if (id instanceof Uint8Array) return Buffer.from(id).toString('hex');
  if (typeof id === 'string') return id;
  throw new RangeError('no id');
};

export const encodePayload = (p: TokenPayload): Buffer => {
  const methods = p.methods.reduce((bits, m) => bits | (1 << METHODS.indexOf(m)), 0);
  const expires = p.expiresAt / 1000;
  const audit = p.auditIds.map((a) => Buffer.from(a, 'base64url'));
  const user = idPair(p.userId);
  if (p.applicationCredentialId !== null && p.scope.kind === 'project')
    return pack([CREDENTIAL, user, methods, idPair(p.scope.id), expires, audit, idPair(p.applicationCredentialId)]);
  switch (p.scope.kind) {
    case 'unscoped':
      return pack([UNSCOPED, user, methods, expires, audit]);
    case 'domain':
      return pack([DOMAIN, user, methods, idBare(p.scope.id), expires, audit]);
    case 'project':
      return pack([PROJECT, user, methods, idPair(p.scope.id), expires, audit]);
    case 'system':
      return pack([SYSTEM, user, methods, 'all', expires, audit]);
  }
};

/** @returns undefined for a payload that is none of ours */
export const decodePayload = (bytes: Buffer): TokenPayload | undefined => {
  try {
    const fields = unpack(bytes);
    if (!Array.isArray(fields)) return undefined;
    const [version, user, bits, ...rest] = fields as readonly Packed[];
    if (typeof bits !== 'number') return undefined;
    const scope = scopeOf(version, rest[0]);
    if (!scope) return undefined;
    const [expires, audit, credential] = version === UNSCOPED ? rest : rest.slice(1);
    if (typeof expires !== 'number' || !Array.isArray(audit)) return undefined;
    return {
      userId: readId(user),
      methods: METHODS.filter((_, i) => bits & (1 << i)),
      scope,
      expiresAt: Math.round(expires * 1000),
      auditIds: (audit as readonly Packed[]).map((a) => Buffer.from(a as Uint8Array).toString('base64url')),
      applicationCredentialId: version === CREDENTIAL ? readId(credential) : null,
    };
  } catch {
    return undefined;
  }
};

const scopeOf = (version: Packed | undefined, field: Packed | undefined): TokenScope | undefined => {
  switch (version) {
    case UNSCOPED:
      return { kind: 'unscoped' };
    case DOMAIN:
      return { kind: 'domain', id: readId(field) };
    case PROJECT:
    case CREDENTIAL:
      return { kind: 'project', id: readId(field) };
    case SYSTEM:
      return { kind: 'system' };
    default:
      return undefined;
  }
};

/** 16 bytes as Keystone's; ours begin with the moment of issue, to tell what was issued before a revocation. */
export const newAuditId = (now: number, random: Uint8Array = randomBytes(10)): string => {
  const bytes = Buffer.alloc(16);
  bytes.writeUIntBE(now, 0, 6);
  bytes.set(random.subarray(0, 10), 6);
  return bytes.toString('base64url');
};

/** Milliseconds since 1970. */
export const issuedAt = (p: TokenPayload): number => Buffer.from(p.auditIds[0] ?? '', 'base64url').readUIntBE(0, 6);
