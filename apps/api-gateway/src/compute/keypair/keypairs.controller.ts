import { Controller } from '@nestjs/common';
import type { KeypairType, UserId } from '@omnivisor/contracts';
import { type ByVersion, type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { first, isoNaive, markerNotFound, nextLink, pageOf, type Query } from '../common/paging.js';
import * as t from '../common/parameters.js';
import { queryByVersion, View, wrapped } from '../common/versions.js';
import { ComputeSettings } from '../compute-ports.js';
import { defaultQuota } from '../quota/defaults.js';
import { limitOf, quotaAggregate } from '../quota/quota.js';
import { generateX509Keypair } from './client-certificate.js';
import { fingerprintOf, generateSshKeypair } from './key-formats.js';
import { keypairAggregate, keypairNotFound } from './keypair.js';
import { type KeypairRow, keypairKey, keypairTable } from './keypair.projection.js';

const compute = 'compute' as const;
const path = '/v2.1/os-keypairs';
const rule = (name: string) => `os_compute_api:os-keypairs:${name}`;

const oldName = t.name.regex(/^[_\- a-zA-Z0-9]+$/);
const newName = t.name.regex(/^[_\-@. a-zA-Z0-9]+$/);
const createKeypair: ByVersion<z.ZodType> = wrapped('keypair', {
  name: [
    ['2.1', oldName],
    ['2.92', newName],
  ],
  public_key: [
    ['2.1', z.string().max(16_384).optional()],
    ['2.92', z.string().max(16_384)],
  ],
  type: [['2.2', z.enum(['ssh', 'x509']).optional()]],
  user_id: [['2.10', t.userId.optional()]],
});
interface CreateKeypairBody {
  readonly keypair: {
    readonly name: string;
    readonly public_key?: string;
    readonly type?: KeypairType;
    readonly user_id?: string;
  };
}

const ofUser = queryByVersion({ user_id: [['2.10', t.anyText]] });
const listQuery = queryByVersion({
  user_id: [['2.10', t.anyText]],
  limit: [['2.35', t.limit]],
  marker: [['2.35', t.anyText]],
});

const common = [
  ['name', '2.1', null, (k: KeypairRow) => k.name],
  ['public_key', '2.1', null, (k: KeypairRow) => k.publicKey],
  ['fingerprint', '2.1', null, (k: KeypairRow) => k.fingerprint],
  ['type', '2.2', null, (k: KeypairRow) => k.type],
] as const;
const listView = new View<KeypairRow>(common);
const createView = new View<KeypairRow, { privateKey: string | null }>([
  ...common,
  ['user_id', '2.1', null, (k) => k.userId],
  ['private_key', '2.1', '2.91', (_, c) => c.privateKey ?? undefined],
]);
const showView = new View<KeypairRow>([
  ...common,
  ['user_id', '2.1', null, (k) => k.userId],
  ['id', '2.1', null, (k) => k.number],
  ['created_at', '2.1', null, (k) => isoNaive(k.createdAt)],
  ['updated_at', '2.1', null, () => null],
  ['deleted', '2.1', null, () => false],
  ['deleted_at', '2.1', null, () => null],
]);

@Controller()
export class KeypairsController {
  constructor(
    private readonly core: GatewayCore,
    private readonly settings: ComputeSettings,
  ) {}

  @Operation({
    service: compute,
    method: 'POST',
    path,
    policy: 'authenticated',
    body: createKeypair,
    status: [
      ['2.1', 200],
      ['2.2', 201],
    ],
  })
  async create(call: Call) {
    const { keypair } = call.body as CreateKeypairBody;
    const userId = this.user(call, 'create', keypair.user_id);
    const type = keypair.type ?? 'ssh';
    const generated = keypair.public_key === undefined;
    const now = this.core.clock.now();
    const newPair = () => (type === 'ssh' ? generateSshKeypair() : generateX509Keypair(userId, new Date(now)));
    const pair = generated ? await newPair() : null;
    const publicKey = pair?.publicKey ?? keypair.public_key!;
    const name = keypair.name.trim();
    const row = {
      userId: userId as UserId,
      name,
      type,
      publicKey,
      fingerprint: fingerprintOf(type, publicKey),
      generated,
    };
    await this.core.commands.execute(
      keypairAggregate,
      userId,
      { type: 'add', keypair: row, limit: await this.limit(call) },
      call.context(),
    );
    const shown: KeypairRow = { ...row, number: 0, createdAt: now };
    return { keypair: createView.render(call.version, shown, { privateKey: pair?.privateKey ?? null }) };
  }

  @Operation({ service: compute, method: 'GET', path, policy: 'authenticated', query: listQuery })
  async list(call: Call) {
    const query = call.query as Query;
    const userId = this.user(call, 'index', first(query, 'user_id'));
    const rows = await (await this.core.fresh()).find(keypairTable, { where: { userId }, orderBy: [['name', 'asc']] });
    const paged = call.since('2.35');
    const marker = first(query, 'marker');
    if (paged && marker !== undefined && !rows.some((k) => k.name === marker)) throw markerNotFound(marker);
    const page = paged ? pageOf(rows, query, (k) => k.name) : rows;
    return {
      keypairs: page.map((k) => ({ keypair: listView.render(call.version, k, undefined) })),
      ...(paged ? nextLink(call, 'keypairs', page, page.at(-1)?.name) : {}),
    };
  }

  @Operation({ service: compute, method: 'GET', path: `${path}/:name`, policy: 'authenticated', query: ofUser })
  async show(call: Call) {
    const userId = this.user(call, 'show', first(call.query as Query, 'user_id'));
    const name = call.params.name!;
    const row = await (await this.core.fresh()).get(keypairTable, keypairKey(userId, name));
    if (!row) throw keypairNotFound(name.slice(0, 255), userId);
    return { keypair: showView.render(call.version, row, undefined) };
  }

  @Operation({
    service: compute,
    method: 'DELETE',
    path: `${path}/:name`,
    policy: 'authenticated',
    query: ofUser,
    status: [
      ['2.1', 202],
      ['2.2', 204],
    ],
  })
  async remove(call: Call) {
    const userId = this.user(call, 'delete', first(call.query as Query, 'user_id'));
    await this.core.commands.execute(
      keypairAggregate,
      userId,
      { type: 'delete', userId: userId as UserId, name: call.params.name! },
      call.context(),
    );
  }

  /** Whose keypairs are meant; before 2.10 always the caller's own. */
  private user(call: Call, name: string, asked: string | undefined): string {
    const userId = (call.since('2.10') && asked) || call.token.userId;
    call.enforce(rule(name), { user_id: userId });
    if (!t.userId.safeParse(userId).success) throw keypairNotFound('', userId.slice(0, 255));
    return userId;
  }

  private async limit(call: Call): Promise<number> {
    const defaults = { ...defaultQuota, ...this.settings.quota };
    const { projectId } = call.token;
    if (projectId === null) return defaults.key_pairs ?? -1;
    return limitOf(await this.core.commands.load(quotaAggregate, projectId), defaults, 'key_pairs');
  }
}
