import { type Account, type ClaimsData, decode, encodeAccount } from '@nats-io/jwt';
import { fromSeed } from '@nats-io/nkeys';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { unavailable } from '@omnivisor/contracts';
import { z } from 'zod';
import { allPermissions, createUserKey, credsText, type NatsAuthority, signUser } from './credentials.js';
import { authenticator } from './login.js';
import type { NatsServers } from './tls.js';

/** What it takes to revoke keys: the operator signs the account anew, the system account hands it to the servers. Secret. */
export const RevokingAuthority = z.object({
  operatorSeed: z.string().regex(/^SO/),
  accountId: z.string().regex(/^A/),
  systemAccountSeed: z.string().regex(/^SA/),
});
export type RevokingAuthority = z.infer<typeof RevokingAuthority>;

/** Text of a file with it. */
export const revokingAuthority = (authority: NatsAuthority): string =>
  JSON.stringify(RevokingAuthority.parse(authority));

const ANSWER = { timeout: 1_000 };

/**
 * Has the NATS servers refuse the keys of users, and cut the connections that use them. The revocations are part of the
 * account's claim; a server that keeps claims in memory forgets them when it ends.
 */
export class KeyRevoker {
  private constructor(
    private readonly connection: NatsConnection,
    private readonly authority: RevokingAuthority,
  ) {}

  /** Connects as the system account; while the servers are away calls fail and the connection is tried for ever. */
  static async connect(servers: NatsServers, authority: RevokingAuthority): Promise<KeyRevoker> {
    const key = createUserKey();
    const jwt = await signUser(authority.systemAccountSeed, 'revoker', key.publicKey, allPermissions);
    const connection = await connect({
      ...servers,
      name: 'key revoker',
      maxReconnectAttempts: -1,
      reconnectTimeWait: 250,
      waitOnFirstConnect: true,
      ignoreAuthErrorAbort: true,
      ...authenticator({ kind: 'creds', text: credsText(jwt, key.seed) }),
    });
    return new KeyRevoker(connection, authority);
  }

  /**
   * Revokes keys for good. Those that are revoked already stay so.
   * @param keys public keys of users, `U…`
   * @throws DomainError `unavailable`
   */
  async revoke(keys: readonly string[]): Promise<void> {
    const claims = await this.claims();
    const before = claims.nats.revocations ?? {};
    const fresh = keys.filter((key) => before[key] === undefined);
    if (fresh.length === 0) return;
    // Claims that were issued until now are refused, and nobody issues another for such a key.
    const now = Math.ceil(Date.now() / 1_000);
    const revocations = { ...before, ...Object.fromEntries(fresh.map((key) => [key, now])) };
    const signer = fromSeed(new TextEncoder().encode(this.authority.operatorSeed));
    const jwt = await encodeAccount(claims.name, claims.sub, { ...claims.nats, revocations }, { signer });
    const answer = await this.ask(`$SYS.REQ.ACCOUNT.${claims.sub}.CLAIMS.UPDATE`, jwt);
    if ((answer as { data?: { code?: number } }).data?.code !== 200)
      throw unavailable('the NATS server did not take the revocations', new Error(JSON.stringify(answer)));
  }

  close(): Promise<void> {
    return this.connection.close();
  }

  /** The account's claim as a server has it now: limits and whatever else an operator put into it stay. */
  private async claims(): Promise<ClaimsData<Account>> {
    const { accountId: account } = this.authority;
    const answer = await this.ask('$SYS.REQ.SERVER.PING.ACCOUNTZ', JSON.stringify({ account }));
    const jwt = (answer as { data?: { account_detail?: { jwt?: string } } }).data?.account_detail?.jwt;
    if (!jwt) throw unavailable('the NATS server does not know the account', new Error(JSON.stringify(answer)));
    return decode<Account>(jwt);
  }

  private async ask(subject: string, body: string): Promise<unknown> {
    try {
      return (await this.connection.request(subject, body, ANSWER)).json();
    } catch (error) {
      throw unavailable('the NATS server does not answer', error);
    }
  }
}
