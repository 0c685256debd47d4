import { Module } from '@nestjs/common';
import { type Milliseconds, seconds } from '@omnivisor/contracts';
import { MemoryEventStore, MemoryReadModel } from '@omnivisor/eventsourcing/memory';
import { MemoryVault } from '@omnivisor/eventsourcing/vault';
import { createOpenStackApp, type OpenStackApp } from '@omnivisor/openstack';
import { MemoryBus, SeededIds, VirtualClock } from '@omnivisor/platform/testing';
import { GatewayCore } from '../../core/gateway-core.js';
import { Identity } from '../identity.js';
import { identityModule } from '../identity.module.js';
import { identityProjections } from '../record/tables.js';

@Module({})
class IdentityOnly {}

export const ADMIN_PASSWORD = 'correct horse battery staple';

/** The identity service alone, in memory, on virtual time. Two of them on one `shared` are two replicas. */
export class IdentityCloud {
  private constructor(
    readonly app: OpenStackApp,
    readonly core: GatewayCore,
    readonly identity: Identity,
    readonly shared: Shared,
    readonly lines: object[],
  ) {}

  static async start(shared = new Shared(), seed = 1): Promise<IdentityCloud> {
    const ids = new SeededIds(seed);
    const lines: object[] = [];
    const core = new GatewayCore(
      {
        clock: shared.clock,
        ids,
        bus: shared.bus,
        store: shared.store,
        readModel: new MemoryReadModel(),
        random: () => 0.5,
      },
      identityProjections,
      (where, error) => lines.push({ where, error }),
    );
    await core.start();
    const identity = new Identity(core, shared.vault, {
      region: 'RegionOne',
      tokenLifetime: seconds(3600) as Milliseconds,
      adminPassword: ADMIN_PASSWORD,
    });
    await identity.start();
    const log = (fields: object) => lines.push(fields);
    const app = await createOpenStackApp({
      module: { module: IdentityOnly, imports: [identityModule(identity)] },
      services: ['identity'],
      tokens: () => identity.desk.tokens,
      logger: { debug: () => {}, info: () => {}, warn: log, error: log },
    });
    return new IdentityCloud(app, core, identity, shared, lines);
  }

  async stop(): Promise<void> {
    await this.app.close();
    await this.identity.stop();
    await this.core.stop();
  }

  async call(
    method: string,
    path: string,
    options: { token?: string | undefined; body?: unknown; headers?: object } = {},
  ) {
    const raw = typeof options.body === 'string';
    const answer = await this.app.fastify.inject({
      method: method as 'GET',
      url: `/identity${path}`,
      headers: {
        host: 'cloud.example',
        ...(options.token === undefined ? {} : { 'x-auth-token': options.token }),
        ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...options.headers,
      },
      ...(options.body === undefined ? {} : { payload: raw ? (options.body as string) : JSON.stringify(options.body) }),
    });
    return {
      status: answer.statusCode,
      headers: answer.headers as Record<string, string>,
      // biome-ignore lint/suspicious/noExplicitAny: specs look into answers freely
      body: (answer.body.startsWith('{') ? answer.json() : answer.body) as any,
    };
  }

  login(name: string, password: string, scope: unknown = 'unscoped', domain: object = { id: 'default' }) {
    const identity = { methods: ['password'], password: { user: { name, domain, password } } };
    return this.call('POST', '/v3/auth/tokens', {
      body: { auth: { identity, ...(scope === undefined ? {} : { scope }) } },
    });
  }

  /** A user of its own with a role on a project of its own, and a token for it. */
  async member(name: string, role = 'member') {
    const token = await this.adminToken();
    const make = async (kind: string, attributes: object): Promise<string> => {
      const answer = await this.call('POST', `/v3/${kind}s`, { token, body: { [kind]: attributes } });
      if (answer.status !== 201) throw new Error(`no ${kind}: ${JSON.stringify(answer.body)}`);
      return answer.body[kind].id;
    };
    const projectId = await make('project', { name: `${name}-project` });
    const userId = await make('user', { name, password: name });
    const { roles } = (await this.call('GET', `/v3/roles?name=${role}`, { token })).body;
    await this.call('PUT', `/v3/projects/${projectId}/users/${userId}/roles/${roles[0].id}`, { token });
    const login = await this.login(name, name, { project: { id: projectId } });
    return { projectId, userId, token: login.headers['x-subject-token']! };
  }

  async adminToken(): Promise<string> {
    const scope = { project: { name: 'admin', domain: { id: 'default' } } };
    const answer = await this.login('admin', ADMIN_PASSWORD, scope);
    if (answer.status !== 201) throw new Error(`login failed: ${JSON.stringify(answer.body)}`);
    return answer.headers['x-subject-token']!;
  }
}

export class Shared {
  readonly clock = new VirtualClock();
  readonly bus = new MemoryBus(this.clock);
  readonly store = new MemoryEventStore(this.clock, new SeededIds(99));
  readonly vault = new MemoryVault();
}
