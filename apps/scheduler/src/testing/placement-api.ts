import { createOpenStackApp } from '@omnivisor/openstack';
import { person } from '@omnivisor/openstack/testing';
import type { SchedulerCore } from '../core/scheduler-core.js';
import { placementModule } from '../placement/placement.module.js';

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';
interface Wish {
  readonly version?: string;
  /** A role, or nobody. */
  readonly as?: string;
  readonly body?: unknown;
}

/** The Placement API of one scheduler, for callers of one role each. */
export const placementApi = async (core: SchedulerCore) => {
  const nothing = () => {};
  const app = await createOpenStackApp({
    module: placementModule(core),
    services: ['placement'],
    lookingBack: (moment, read) => core.lookingBack(moment, read),
    tokens: () => ({ validate: async (role) => (role === 'nobody' ? null : person('p1', 'u1', [role])) }),
    logger: { debug: nothing, info: nothing, warn: nothing, error: nothing } as never,
    publicUrl: 'http://cloud.example/prefix',
  });
  const call = async (method: Method, url: string, { version = '1.39', as = 'admin', body }: Wish = {}) => {
    const reply = await app.fastify.inject({
      method,
      url: `/placement${url}`,
      headers: {
        'x-auth-token': as,
        'openstack-api-version': `placement ${version}`,
        'content-type': 'application/json',
      },
      ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
    });
    const { statusCode: status, headers } = reply;
    return { status, headers, json: reply.body ? JSON.parse(reply.body) : undefined };
  };
  return { call, close: () => app.close() };
};
export type PlacementApi = Awaited<ReturnType<typeof placementApi>>;
