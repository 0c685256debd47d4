import { createHash, randomBytes } from 'node:crypto';
import {
  type CommandContext,
  type Instant,
  type Position,
  type TokenContext,
  type TokenEvent,
  type TokenKeyEvent,
  tokenEvents,
  tokenKeyEvents,
  type UserId,
  unavailable,
  type VaultRef,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import type { Vault } from '@omnivisor/eventsourcing/vault';
import type { Arrival, TokenValidator } from '@omnivisor/openstack';
import { LRUCache } from 'lru-cache';
import type { GatewayCore } from '../../core/gateway-core.js';
import { tokenKeyTable, VERSION_KEY, versionTable } from '../record/tables.js';
import { contextOf } from './directory.js';
import { open, seal } from './fernet.js';
import { decodePayload, encodePayload, inOrder, newAuditId, type TokenPayload, type TokenScope } from './payload.js';

type RevokeCommand = { readonly auditId: string; readonly userId: UserId; readonly expiresAt: Instant };

const revocations: Aggregate<boolean, RevokeCommand, TokenEvent> = {
  events: tokenEvents,
  initial: false,
  decide: (data, revoked) => (revoked ? [] : [{ type: 'TokenRevoked', data }]),
  evolve: () => true,
};

type KeyState = { readonly indexes: readonly number[] };
type KeyCommand =
  | { readonly type: 'add'; readonly index: number; readonly key: VaultRef; readonly at: Instant }
  | { readonly type: 'retire'; readonly index: number };

export const tokenKeys: Aggregate<KeyState, KeyCommand, TokenKeyEvent> = {
  events: tokenKeyEvents,
  initial: { indexes: [] },
  decide: (command, state) => {
    if (command.type === 'retire')
      return state.indexes.includes(command.index) && state.indexes.length > 1
        ? [{ type: 'TokenKeyRetired', data: { index: command.index } }]
        : [];
    const { index, key, at } = command;
    return state.indexes.some((i) => i >= index) ? [] : [{ type: 'TokenKeyAdded', data: { index, key, at } }];
  },
  evolve: (state, event) =>
    event.type === 'TokenKeyAdded'
      ? { indexes: [...state.indexes, event.data.index] }
      : { indexes: state.indexes.filter((i) => i !== event.data.index) },
};
export const TOKEN_KEYS = 'all';

interface Remembered {
  readonly version: number;
  readonly context: TokenContext | null;
  position: Position;
}

const MAX_REMEMBERED = 10_000;

export interface IssueRequest {
  readonly userId: string;
  readonly methods: readonly string[];
  readonly scope: TokenScope;
  readonly applicationCredentialId?: string | null;
  /** The token this one was made from: the new one ends no later, and carries its chain. */
  readonly parent?: { readonly expiresAt: number; readonly auditIds: readonly string[] };
}

/**
 * Issues, reads and revokes tokens. What a token means is looked up as of now: its answer is remembered only while
 * nothing in identity changed, which one row tells; a revocation by any replica is seen by the next validation.
 */
export class TokenService implements TokenValidator {
  private readonly remembered = new LRUCache<string, Remembered>({ max: MAX_REMEMBERED });
  private keys: { version: number; bytes: Uint8Array[] } | undefined;
  /** Version of identity that the newest validation found: what rests on it may be remembered under it. */
  version = 0;

  constructor(
    private readonly core: GatewayCore,
    private readonly secrets: Vault,
    /** Milliseconds a token lives. */
    private readonly lifetime: number,
  ) {}

  async validate(token: string, arrival: Arrival = {}): Promise<TokenContext | null> {
    const id = createHash('sha256').update(token).digest('base64');
    arrival.head ??= this.core.head();
    const head = await arrival.head;
    const known = this.remembered.get(id);
    if (known && known.position >= head) {
      this.version = known.version;
      return this.unexpired(known.context);
    }
    const rows = await this.core.at(head);
    const version = (await rows.get(versionTable, VERSION_KEY))?.count ?? 0;
    this.version = version;
    if (known?.version === version) {
      known.position = head;
      return this.unexpired(known.context);
    }
    const payload = await this.read(token, version);
    const context = payload ? await contextOf(rows, payload, this.core.clock.now()) : null;
    // What nobody issued is not worth remembering: anyone can send it.
    if (payload) this.remember(id, { version, context, position: head });
    return this.unexpired(context);
  }

  /** @returns the token and what it says; null when the user may not have it */
  async issue(request: IssueRequest): Promise<{ token: string; context: TokenContext; payload: TokenPayload } | null> {
    const rows = await this.core.fresh();
    const version = (await rows.get(versionTable, VERSION_KEY))?.count ?? 0;
    this.version = version;
    const now = Date.parse(this.core.clock.now());
    const { parent } = request;
    const payload: TokenPayload = {
      userId: request.userId,
      methods: inOrder(request.methods),
      scope: request.scope,
      expiresAt: parent ? parent.expiresAt : now + this.lifetime,
      auditIds: [newAuditId(now), ...(parent ? [parent.auditIds.at(-1)!] : [])],
      applicationCredentialId: request.applicationCredentialId ?? null,
    };
    const context = await contextOf(rows, payload, this.core.clock.now());
    if (!context) return null;
    const key = (await this.keysAt(version))[0];
    if (!key) throw unavailable('the identity service has no token key yet');
    const token = seal(key, encodePayload(payload), Math.floor(now / 1000));
    return { token, context, payload };
  }

  async revoke(context: TokenContext, command: CommandContext): Promise<void> {
    const auditId = context.auditIds[0]!;
    await this.core.commands.execute(
      revocations,
      auditId,
      { auditId, userId: context.userId as UserId, expiresAt: `${context.expiresAt.slice(0, -4)}Z` as Instant },
      command,
    );
  }

  /** Adds a key that seals from now on; keys beyond the newest `keep` are retired. */
  async rotate(context: (step: string) => CommandContext, keep = 3): Promise<void> {
    const { indexes } = await this.core.commands.load(tokenKeys, TOKEN_KEYS);
    const index = Math.max(0, ...indexes) + 1;
    const key = await this.secrets.put('token-key', randomBytes(32));
    const at = this.core.clock.now();
    await this.core.commands.execute(tokenKeys, TOKEN_KEYS, { type: 'add', index, key, at }, context(`add-${index}`));
    for (const old of [...indexes].sort((a, b) => b - a).slice(keep - 1))
      await this.core.commands.execute(tokenKeys, TOKEN_KEYS, { type: 'retire', index: old }, context(`retire-${old}`));
  }

  private unexpired(context: TokenContext | null): TokenContext | null {
    return context && Date.parse(context.expiresAt) > Date.parse(this.core.clock.now()) ? context : null;
  }

  private async read(token: string, version: number): Promise<TokenPayload | undefined> {
    const plain = open(await this.keysAt(version), token);
    return plain && decodePayload(plain);
  }

  private async keysAt(version: number): Promise<Uint8Array[]> {
    if (this.keys?.version === version) return this.keys.bytes;
    const rows = await this.core.readModel.find(tokenKeyTable, { orderBy: [['index', 'desc']] });
    const bytes = await Promise.all(rows.map((row) => this.secrets.get(row.key.ref)));
    this.keys = { version, bytes };
    return bytes;
  }

  private remember(id: string, entry: Remembered): void {
    this.remembered.set(id, entry);
  }
}
