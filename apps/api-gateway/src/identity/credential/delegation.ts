import { forbidden } from '@omnivisor/contracts';
import type { Call } from '@omnivisor/openstack';
import type { IdentityDesk } from '../desk.js';
import { credentialTable } from '../record/tables.js';

/** What was lent for one project stays in it: secrets of another, or of none, are out of its reach. */
export const isWithinLent = ({ token }: Call, projectId: string | null): boolean =>
  token.applicationCredentialId === null || token.projectId === projectId;

export const stayWithinLent = (call: Call, projectId: string | null): void => {
  if (!isWithinLent(call, projectId))
    throw forbidden(
      'You are not authorized to perform the requested action: Credential project does not match the project scope of the delegated token.',
    );
};

/** What a program was lent it cannot lend on, unless it may. */
export const refuseRestricted = async (desk: IdentityDesk, call: Call, what: string): Promise<void> => {
  const id = call.token.applicationCredentialId;
  if (id === null) return;
  const credential = await (await desk.fresh()).get(credentialTable, id);
  if (!credential?.unrestricted)
    throw forbidden(`Using method 'application_credential' is not allowed for managing additional ${what}.`);
};
