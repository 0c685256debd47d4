import { readFile } from 'node:fs/promises';
import {
  type ConnectionOptions,
  credsAuthenticator,
  nkeyAuthenticator,
  usernamePasswordAuthenticator,
} from '@nats-io/transport-node';

/** How a client proves who it is to the NATS server. */
export type NatsCredentials =
  /** Text of a `.creds` file: a user JWT and the seed of its key. */
  | { readonly kind: 'creds'; readonly text: string }
  /** Seed of a user nkey, `SU…`. */
  | { readonly kind: 'nkey'; readonly seed: string }
  | { readonly kind: 'password'; readonly user: string; readonly password: string };

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

export const authenticator = (credentials: NatsCredentials): Pick<ConnectionOptions, 'authenticator'> => {
  switch (credentials.kind) {
    case 'creds':
      return { authenticator: credsAuthenticator(bytes(credentials.text)) };
    case 'nkey':
      return { authenticator: nkeyAuthenticator(bytes(credentials.seed)) };
    case 'password':
      return { authenticator: usernamePasswordAuthenticator(credentials.user, credentials.password) };
  }
};

/** @throws Error as `readFile` does, with the path */
export const readCredentials = async (path: string): Promise<NatsCredentials> => ({
  kind: 'creds',
  text: await readFile(path, 'utf8'),
});
