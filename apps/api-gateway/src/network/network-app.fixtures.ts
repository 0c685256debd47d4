import type { TokenContext } from '@omnivisor/contracts';
import { createOpenStackApp } from '@omnivisor/openstack';
import { memoryCore, memoryWorld } from '../core/gateway-core.fixtures.js';
import { GatewayCore } from '../core/gateway-core.js';
import { NetworkModule } from './network.module.js';
import { networkProjections } from './network.projections.js';

const PROJECTS = { admin: 'a', demo: 'd', other: 'e' } as const;
/** One member of each project; `admin` is also the cloud's. */
export type Person = keyof typeof PROJECTS;
export const project = (who: Person) => PROJECTS[who].repeat(32);

const token = (who: Person): TokenContext => ({
  userId: who,
  userName: who,
  userDomainId: 'default',
  userDomainName: 'Default',
  projectId: project(who),
  projectName: who,
  projectDomainId: 'default',
  projectDomainName: 'Default',
  domainId: null,
  domainName: null,
  system: false,
  roles: (who === 'admin' ? ['admin', 'member', 'reader'] : ['member', 'reader']).map((name) => ({ id: name, name })),
  methods: ['password'],
  auditIds: [],
  issuedAt: '',
  expiresAt: '',
  applicationCredentialId: null,
  isAdminProject: true,
});

export type NetworkApp = Awaited<ReturnType<typeof networkApp>>;

/**
 * The Network API over memory adapters.
 * @param given a world whose log is not empty any more
 */
export const networkApp = async (given = memoryWorld()) => {
  const errors: unknown[] = [];
  const { core } = memoryCore(networkProjections, given, (_, error) => errors.push(error));
  class Core {}
  const ignore = () => {};
  const app = await createOpenStackApp({
    module: {
      module: Core,
      imports: [NetworkModule],
      providers: [{ provide: GatewayCore, useValue: core }],
      exports: [GatewayCore],
      global: true,
    } as never,
    services: ['network'],
    tokens: () => ({ validate: async (t) => (t in PROJECTS ? token(t as Person) : null) }),
    logger: { debug: ignore, info: ignore, warn: ignore, error: (fields) => errors.push(fields) },
    lookingBack: (moment, read) => core.lookingBack(moment, read),
  });
  return {
    core,
    errors,
    call: async (
      who: Person,
      method: string,
      path: string,
      body?: unknown,
      headers: Record<string, string> = {},
      // biome-ignore lint/suspicious/noExplicitAny: a spec looks into answers of every shape
    ): Promise<{ status: number; body: any }> => {
      const reply = await app.fastify.inject({
        method: method as 'GET',
        url: `/network/v2.0${path}`,
        headers: {
          host: 'cloud.example',
          'x-auth-token': who,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
      });
      return { status: reply.statusCode, body: reply.body === '' ? null : JSON.parse(reply.body) };
    },
    close: async () => {
      await app.close();
      await core.stop();
    },
  };
};
