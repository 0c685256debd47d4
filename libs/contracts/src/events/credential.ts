import { z } from 'zod';
import { type EventOf, event, eventSet, VaultRef } from '../event-set.js';
import { UserId } from '../ids.js';

/** A secret of a user that other services ask Identity for: an EC2 key pair, the seed of one-time passwords. */
export const CredentialAttributes = z.object({
  userId: UserId,
  projectId: z.string().nullable(),
  /** `ec2`, `totp`, `cert`, or what services agree on. */
  type: z.string(),
  /** In the vault; only the service it is for knows its form. */
  blob: VaultRef,
  /** What names an EC2 key; null for other types. */
  accessKey: z.string().nullable(),
  /** The application credential it was made with: it opens no more than that does. */
  applicationCredentialId: z.string().nullable(),
  extra: z.record(z.string(), z.unknown()),
});
export type CredentialAttributes = z.infer<typeof CredentialAttributes>;

export const credentialEvents = eventSet({
  stream: 'credential',
  writer: 'api-gateway',
  events: {
    CredentialCreated: event(
      'A user has a secret for other services.',
      z.object({ id: z.string(), attributes: CredentialAttributes }),
    ),
    CredentialUpdated: event(
      'Attributes of the credential are now these.',
      z.object({ id: z.string(), changes: CredentialAttributes.partial() }),
    ),
    CredentialDeleted: event('The credential was deleted.', z.object({ id: z.string() })),
  },
});
export type CredentialEvent = EventOf<typeof credentialEvents>;
