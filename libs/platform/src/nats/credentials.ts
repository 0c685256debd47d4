import { encodeAccount, encodeOperator, encodeUser, fmtCreds, parseCreds } from '@nats-io/jwt';
import { createAccount, createOperator, createUser, fromSeed, type KeyPair } from '@nats-io/nkeys';

/**
 * Keys and signed claims of one NATS deployment. The server trusts the operator and knows the accounts; a user exists
 * as soon as the account's key has signed its claim, so that enrolling a host reloads nothing.
 */
export interface NatsAuthority {
  readonly operatorJwt: string;
  readonly operatorSeed: string;
  readonly accountJwt: string;
  readonly accountId: string;
  /** Secret: signs users. The scheduler needs it to enroll hosts. */
  readonly accountSeed: string;
  readonly systemAccountJwt: string;
  readonly systemAccountId: string;
  readonly systemAccountSeed: string;
}

export interface UserKey {
  /** `U…` */
  readonly publicKey: string;
  /** `SU…`; secret. */
  readonly seed: string;
}

const UNLIMITED = { subs: -1, data: -1, payload: -1 } as const;
const ACCOUNT_LIMITS = { ...UNLIMITED, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 } as const;
const STREAMS = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 } as const;

const seedOf = (key: KeyPair): string => new TextDecoder().decode(key.getSeed());
const keyOf = (seed: string): KeyPair => fromSeed(new TextEncoder().encode(seed));

export const createAuthority = async (name: string): Promise<NatsAuthority> => {
  const operator = createOperator();
  const account = createAccount();
  const system = createAccount();
  const sign = { signer: operator };
  return {
    operatorJwt: await encodeOperator(name, operator, { system_account: system.getPublicKey() }),
    operatorSeed: seedOf(operator),
    accountJwt: await encodeAccount(name, account, { limits: { ...ACCOUNT_LIMITS, ...STREAMS } }, sign),
    accountId: account.getPublicKey(),
    accountSeed: seedOf(account),
    systemAccountJwt: await encodeAccount('SYS', system, { limits: ACCOUNT_LIMITS }, sign),
    systemAccountId: system.getPublicKey(),
    systemAccountSeed: seedOf(system),
  };
};

export const createUserKey = (): UserKey => {
  const key = createUser();
  return { publicKey: key.getPublicKey(), seed: seedOf(key) };
};

/** Public half of a user key. */
export const publicKeyOf = (seed: string): string => keyOf(seed).getPublicKey();

/** What one user may do; subjects as NATS writes them. */
export interface SubjectPermissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

/** All that a compute host may say and hear. */
export const hostPermissions = (hostId: string): SubjectPermissions => ({
  publish: [`host.${hostId}.>`],
  subscribe: [`wake.${hostId}`, `${hostInbox(hostId)}.>`],
});

/** Inbox prefix of a host: nobody else's answers arrive under it. */
export const hostInbox = (hostId: string): string => `_INBOX_${hostId}`;

/** All that a reader of feeds may: hear them. */
export const readerPermissions = (name: string, subjects: readonly string[]): SubjectPermissions => ({
  publish: [],
  subscribe: [...subjects, `_INBOX_reader_${name}.>`],
});

/** Inbox prefix of a program of ours; replicas share it. Names of programs have letters and hyphens only. */
export const serviceInbox = (service: string): string => `_INBOX_${service}`;

const INBOX = /^(_INBOX[^.]*)\.>$/;

/** Inbox prefix that a `.creds` file lets its holder hear; undefined when it names none, as one that may hear everything. */
export const inboxOf = async (creds: string): Promise<string | undefined> => {
  const { uc } = await parseCreds(new TextEncoder().encode(creds));
  const heard = uc.nats.sub?.allow ?? [];
  return heard.map((subject) => INBOX.exec(subject)?.[1]).find((prefix) => prefix !== undefined);
};

/** Everything but the server's own account. */
export const allPermissions: SubjectPermissions = { publish: ['>'], subscribe: ['>'] };

/** Nanoseconds within which a service may answer what it was asked; the longest question of the command line takes less. */
const ANSWER_TIME = 15 * 60 * 1_000_000_000;

/** Inboxes of programs of ours; also of those that share one, with credentials of an older release. */
const SERVICE_REPLY = /^_INBOX(?:_[a-z-]+)?\./;

/**
 * True when an answer may go there. A host names the subject of its answer itself: without this check it could have a
 * service say, in the service's name, what the host may not.
 */
export const replyAllowed = (subject: string, reply: string): boolean => {
  const [kind, host] = subject.split('.');
  return kind === 'host' ? reply.startsWith(`${hostInbox(host ?? '')}.`) : SERVICE_REPLY.test(reply);
};

/**
 * A signed claim for a user's public key. Its holder proves itself with the key's seed, which stays where it was made.
 * @param options `answers`: it may also answer once what it hears, wherever the answer goes; `expires`: milliseconds
 *   since 1970, for ever when not given
 */
export const signUser = (
  accountSeed: string,
  name: string,
  publicKey: string,
  permissions: SubjectPermissions,
  { answers = false, expires }: { readonly answers?: boolean; readonly expires?: number } = {},
): Promise<string> =>
  encodeUser(
    name,
    publicKey,
    keyOf(accountSeed),
    {
      ...UNLIMITED,
      ...(answers ? { resp: { max: 1, ttl: ANSWER_TIME } } : {}),
      pub: allowed(permissions.publish),
      sub: allowed(permissions.subscribe),
    },
    expires === undefined ? {} : { exp: Math.floor(expires / 1_000) },
  );

/** To NATS an empty list of what is allowed means everything. */
const allowed = (subjects: readonly string[]) => ({ allow: [...subjects], deny: subjects.length === 0 ? ['>'] : [] });

/** Text of a `.creds` file. */
export const credsText = (jwt: string, seed: string): string => new TextDecoder().decode(fmtCreds(jwt, keyOf(seed)));

const keyIn = async (creds: string): Promise<UserKey> => {
  const { key: seed } = await parseCreds(new TextEncoder().encode(creds));
  return { publicKey: publicKeyOf(seed), seed };
};

/**
 * A `.creds` file for one of our own programs, which also ask and answer.
 * @param permissions what else it may; everything when not given
 * @param before a `.creds` file that it has: its key is kept, and what it may is said anew
 */
export const serviceCredentials = async (
  authority: Pick<NatsAuthority, 'accountSeed'>,
  service: string,
  permissions?: SubjectPermissions,
  before?: string,
) => {
  const key = before === undefined ? createUserKey() : await keyIn(before);
  const narrowed = permissions && {
    ...permissions,
    subscribe: [`${serviceInbox(service)}.>`, ...permissions.subscribe],
  };
  const claim = signUser(authority.accountSeed, service, key.publicKey, narrowed ?? allPermissions, {
    answers: !!narrowed,
  });
  return credsText(await claim, key.seed);
};

export interface NatsServerSettings {
  readonly authority: NatsAuthority;
  /** Address to listen on; without it the server's command line says it. */
  readonly listen?: { readonly host: string; readonly port: number };
  /** JetStream's directory; null leaves JetStream off. */
  readonly storeDir: string | null;
  readonly serverName: string;
  readonly pidFile?: string;
  /** PEM files; without them connections are plain. With `ca` clients have to show a certificate that it signed. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca?: string };
}

const tlsBlock = ({ cert, key, ca }: NonNullable<NatsServerSettings['tls']>): string => {
  const files = `cert_file: ${JSON.stringify(cert)}, key_file: ${JSON.stringify(key)}`;
  return `tls { ${files}${ca === undefined ? '' : `, ca_file: ${JSON.stringify(ca)}, verify: true`} }`;
};

/** Configuration text of a nats-server that knows this authority and nobody else. */
export const natsServerConfig = (s: NatsServerSettings): string =>
  [
    `server_name: ${JSON.stringify(s.serverName)}`,
    ...(s.listen ? [`host: ${JSON.stringify(s.listen.host)}`, `port: ${s.listen.port}`] : []),
    // What a host wants of a thousand servers is one answer.
    'max_payload: 8388608',
    ...(s.pidFile ? [`pid_file: ${JSON.stringify(s.pidFile)}`] : []),
    ...(s.tls ? [tlsBlock(s.tls)] : []),
    ...(s.storeDir ? [`jetstream { store_dir: ${JSON.stringify(s.storeDir)} }`] : []),
    `operator: ${s.authority.operatorJwt}`,
    `system_account: ${s.authority.systemAccountId}`,
    'resolver: MEMORY',
    'resolver_preload: {',
    `  ${s.authority.accountId}: ${s.authority.accountJwt}`,
    `  ${s.authority.systemAccountId}: ${s.authority.systemAccountJwt}`,
    '}',
    '',
  ].join('\n');
