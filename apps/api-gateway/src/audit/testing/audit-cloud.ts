import {
  type CommandContext,
  type CommandId,
  type RequestId,
  type ServerEvent,
  serverEvents,
} from '@omnivisor/contracts';
import { streamOf } from '@omnivisor/eventsourcing';
import { MemoryEventIndex } from '@omnivisor/eventsourcing/event-index';
import { MemoryLeadership, MemorySeat } from '@omnivisor/eventsourcing/memory';
import { MemorySealStore } from '@omnivisor/eventsourcing/seal';
import { MemoryVault } from '@omnivisor/eventsourcing/vault';
import { memoryWorld } from '../../core/gateway-core.fixtures.js';
import { type GatewayApp, type GatewayAppOptions, startGatewayApp } from '../../gateway-app.js';

const PASSWORD = 'correct horse battery staple';

export interface Person {
  readonly token: string;
  readonly userId: string;
  readonly projectId: string;
}

/** A whole gateway in memory on virtual time, for specs of what looks at the log. */
export class AuditCloud {
  readonly errors: unknown[] = [];
  private commands = 0;

  private constructor(
    readonly service: GatewayApp,
    readonly world: ReturnType<typeof memoryWorld>,
    readonly eventIndex: MemoryEventIndex,
  ) {}

  /** @param parts what is not to be in memory */
  static async start(
    parts: Partial<Pick<GatewayAppOptions, 'ports' | 'vault' | 'eventIndex'>> = {},
  ): Promise<AuditCloud> {
    const world = memoryWorld();
    const eventIndex = new MemoryEventIndex();
    const errors: unknown[] = [];
    const complain = (...error: unknown[]) => errors.push(error);
    const service = await startGatewayApp({
      ports: world,
      vault: new MemoryVault(),
      evidence: {
        seals: new MemorySealStore(),
        leadership: new MemoryLeadership(new MemorySeat()),
        origin: 'omnivisor/spec',
        keyDays: 90,
        places: [],
      },
      eventIndex,
      logger: { debug: () => {}, info: () => {}, warn: complain, error: complain },
      region: 'RegionOne',
      tokenSeconds: 3_600,
      adminPassword: PASSWORD,
      imageUrl: 'http://image.invalid',
      placementUrl: 'http://placement.invalid',
      publicUrl: undefined,
      trustedProxies: [],
      consoleOrigins: [],
      onError: complain,
      ...parts,
    });
    const cloud = new AuditCloud(service, world, eventIndex);
    cloud.errors.push = errors.push.bind(errors);
    return cloud;
  }

  get core() {
    return this.service.gateway.core;
  }

  async call(path: string, token?: string, options: { method?: string; body?: unknown; headers?: object } = {}) {
    const answer = await this.service.app.fastify.inject({
      method: (options.method ?? 'GET') as 'GET',
      url: path,
      headers: {
        host: 'cloud.example',
        ...(token === undefined ? {} : { 'x-auth-token': token }),
        ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...options.headers,
      },
      ...(options.body === undefined ? {} : { payload: JSON.stringify(options.body) }),
    });
    const isJson = String(answer.headers['content-type']).startsWith('application/json') && answer.body !== '';
    // biome-ignore lint/suspicious/noExplicitAny: specs look into answers freely
    return { status: answer.statusCode, headers: answer.headers, body: (isJson ? answer.json() : answer.body) as any };
  }

  async login(name: string, password: string, scope: unknown): Promise<string> {
    const user = { name, domain: { id: 'default' }, password };
    const body = { auth: { identity: { methods: ['password'], password: { user } }, scope } };
    const answer = await this.call('/identity/v3/auth/tokens', undefined, { method: 'POST', body });
    if (answer.status !== 201) throw new Error(`login of ${name}: ${JSON.stringify(answer.body)}`);
    return String(answer.headers['x-subject-token']);
  }

  admin(): Promise<string> {
    return this.login('admin', PASSWORD, { project: { name: 'admin', domain: { id: 'default' } } });
  }

  /** A user with one role on a project, which is made when it is not there; `system` for a role on the whole cloud. */
  async person(name: string, role: string, project: string | 'system'): Promise<Person> {
    const admin = await this.admin();
    const post = async (kind: string, attributes: object) => {
      const found = await this.call(`/identity/v3/${kind}s?name=${project}`, admin);
      if (kind === 'project' && found.body.projects.length > 0) return found.body.projects[0];
      const made = await this.call(`/identity/v3/${kind}s`, admin, { method: 'POST', body: { [kind]: attributes } });
      return made.body[kind];
    };
    const user = await post('user', { name, password: PASSWORD });
    const roleId = (await this.call(`/identity/v3/roles?name=${role}`, admin)).body.roles[0].id;
    const isSystem = project === 'system';
    const projectId = isSystem ? 'system' : ((await post('project', { name: project })).id as string);
    const scope = isSystem ? 'system' : `projects/${projectId}`;
    const granted = await this.call(`/identity/v3/${scope}/users/${user.id}/roles/${roleId}`, admin, { method: 'PUT' });
    if (granted.status !== 204) throw new Error(`role ${role} of ${name}: ${JSON.stringify(granted.body)}`);
    const asked = isSystem ? { system: { all: true } } : { project: { id: projectId } };
    return { token: await this.login(name, PASSWORD, asked), userId: user.id, projectId };
  }

  /** Context of a command of a user, or of a host. */
  context(who: Person | { readonly service: string }, more: Partial<CommandContext> = {}): CommandContext {
    const n = this.commands++;
    const requestId = `req-00000000-0000-4000-8000-${String(n).padStart(12, '0')}` as RequestId;
    return {
      actor:
        'token' in who
          ? {
              kind: 'user',
              userId: who.userId,
              projectId: who.projectId,
              roles: ['member'],
              address: '192.0.2.7',
            }
          : { kind: 'service', service: who.service },
      requestId,
      correlationId: requestId,
      causationId: null,
      commandId: `audit-spec-${n}` as CommandId,
      ...more,
    };
  }

  /** Appends to a server's stream what its commands, processes and host would. @returns the recorded events */
  async serverEvents(serverId: string, events: readonly ServerEvent[], context: CommandContext) {
    const stream = streamOf(serverEvents, serverId);
    const before = await this.core.store.readStream(stream);
    const appended = await this.core.store.append(
      stream,
      before.length - 1,
      events.map((event) => ({ ...event, schemaVersion: 1, context })),
    );
    return appended.events;
  }

  stop(): Promise<void> {
    return this.service.stop();
  }
}
