import { RequestId } from '@omnivisor/contracts';
import type { TokenValidator } from '@omnivisor/openstack';
import type { FastifyInstance } from 'fastify';
import type { Refusals } from './refusals.js';

/** Hooks in refusals of the services that requests are passed on to; those write nothing to this stream themselves. */
export const refusalsBehind = (
  fastify: FastifyInstance,
  prefixes: readonly string[],
  tokens: TokenValidator,
  refusals: Refusals,
): void => {
  fastify.addHook('onResponse', async (request, reply) => {
    const path = (request.raw.url ?? '/').split('?', 1)[0]!;
    if (reply.statusCode !== 403 || !prefixes.some((p) => path.startsWith(`${p}/`))) return;
    const secret = request.headers['x-auth-token'];
    const requestId = RequestId.safeParse(reply.getHeader('x-openstack-request-id'));
    if (typeof secret !== 'string' || !requestId.success) return;
    const token = await tokens.validate(secret).catch(refusals.failed);
    if (!token) return;
    refusals.record({
      requestId: requestId.data,
      correlationId: requestId.data,
      token,
      address: request.ip,
      operation: `${request.method} ${path.slice(0, 512)}`,
      rule: null,
      params: {},
      status: reply.statusCode,
    });
  });
};
