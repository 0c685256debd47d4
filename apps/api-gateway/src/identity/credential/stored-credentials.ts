import { createHash } from 'node:crypto';
import { type CredentialAttributes, conflict, DomainError, invalid, type UserId } from '@omnivisor/contracts';
import type { Call } from '@omnivisor/openstack';
import type { IdentityDesk } from '../desk.js';
import { storedCredentials } from '../record/aggregates.js';
import type { StoredCredentialRow } from '../record/tables.js';

export const EC2 = 'ec2';

/** The id of an EC2 credential, by what its key is named. */
export const idOfKey = (access: string): string => createHash('sha256').update(access).digest('hex');

const ASSUMED =
  'The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.';
const expected = (attribute: string) => invalid(`Expecting to find ${attribute} in credential. ${ASSUMED}`);

/** What an EC2 credential's blob says. @throws DomainError `invalid` */
export const keyIn = (blob: string): Record<string, unknown> & { readonly access: string } => {
  let key: unknown;
  try {
    key = JSON.parse(blob);
  } catch {
    throw invalid('Invalid blob in credential');
  }
  if (typeof key !== 'object' || key === null || Array.isArray(key) || Object.keys(key).length === 0)
    throw expected('blob');
  const { access } = key as { access?: unknown };
  if (typeof access !== 'string' || access === '') throw expected('access');
  return key as never;
};

export interface NewCredential {
  readonly userId: string;
  readonly projectId: string | null;
  readonly type: string;
  readonly blob: string;
  readonly extra: Record<string, unknown>;
}

/** Keeps a secret for other services. @throws DomainError `conflict` when a key of that name is there */
export const keep = async (
  desk: IdentityDesk,
  call: Call<unknown>,
  wish: NewCredential,
): Promise<StoredCredentialRow> => {
  const lentBy = call.token.applicationCredentialId;
  const isKey = wish.type.toLowerCase() === EC2;
  const key = isKey ? { ...keyIn(wish.blob), ...(lentBy === null ? {} : { app_cred_id: lentBy }) } : undefined;
  const id = key ? idOfKey(key.access) : desk.core.ids.hex();
  const blob = await desk.secrets.put('credential', key ? JSON.stringify(key) : wish.blob);
  const attributes: CredentialAttributes = {
    userId: wish.userId as UserId,
    projectId: wish.projectId,
    type: wish.type,
    blob,
    accessKey: key?.access ?? null,
    applicationCredentialId: isKey ? lentBy : null,
    extra: wish.extra,
  };
  try {
    await desk.execute(storedCredentials, id, { type: 'create', id, attributes }, call.context());
  } catch (error) {
    await desk.secrets.erase(blob.ref);
    if (error instanceof DomainError && error.kind === 'conflict')
      throw conflict(`Conflict occurred attempting to store credential - Duplicate entry found with ID ${id}.`);
    throw error;
  }
  return { ...attributes, id, createdAt: desk.core.clock.now() };
};

export const blobOf = async (desk: IdentityDesk, row: StoredCredentialRow): Promise<string> =>
  Buffer.from(await desk.secrets.get(row.blob.ref)).toString();
