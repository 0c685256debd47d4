import proxy from '@fastify/http-proxy';
import { unavailable } from '@omnivisor/contracts';
import type { FastifyInstance } from 'fastify';

export interface PassThrough {
  /** e.g. `/image`; the same there as here. */
  readonly prefix: string;
  /** Root of the service that answers. */
  readonly upstream: string;
}

const UPLOAD_DEADLINE = 6 * 3_600_000;

/**
 * Passes requests on as a stream in both directions, nothing is kept. The token goes with them: the service behind checks
 * it itself. What a client says about forwarding is believed only from a proxy that is trusted.
 */
export const passThrough = async (
  fastify: FastifyInstance,
  passed: readonly PassThrough[],
  trusts: (address: string) => boolean,
): Promise<void> => {
  for (const { prefix, upstream } of passed)
    await fastify.register(proxy, {
      upstream,
      prefix,
      rewritePrefix: prefix,
      // Bodies are streams already: the edge parses none by itself.
      proxyPayloads: false,
      undici: { connections: 128, bodyTimeout: 0, headersTimeout: UPLOAD_DEADLINE },
      replyOptions: {
        rewriteRequestHeaders: (request, headers) => {
          const { 'x-forwarded-prefix': given, ...rest } = headers;
          const believed = trusts(request.socket.remoteAddress ?? '');
          return {
            ...rest,
            'x-forwarded-for': request.ip,
            'x-forwarded-proto': request.protocol,
            'x-forwarded-host': request.host,
            ...(believed && given !== undefined ? { 'x-forwarded-prefix': given } : {}),
          };
        },
        onError: (reply, { error }) => {
          void reply.send(
            unavailable('The service is currently unavailable. Please try again at a later time.', error),
          );
        },
      },
    });
};
