import type { Call } from '@omnivisor/openstack';
import type { FastifyInstance } from 'fastify';
import { ComputeNetworkApi } from '../compute-ports.js';

/** Network within this very process: the same route, policy and words as over the wire. */
export class OwnNetworkApi extends ComputeNetworkApi {
  /** @param fastify the gateway's own; it is there when the first request is */
  constructor(private readonly fastify: () => FastifyInstance) {
    super();
  }

  async ask(call: Call, method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown) {
    const answer = await this.fastify().inject({
      method,
      url: `/network/v2.0${path}`,
      remoteAddress: call.address,
      headers: {
        'x-auth-token': call.headers['x-auth-token'] ?? '',
        'x-openstack-request-id': call.requestId,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
    });
    return { status: answer.statusCode, body: answer.body === '' ? undefined : (answer.json() as unknown) };
  }
}
