import proxy from '@fastify/http-proxy';
import { unavailable } from '@omnivisor/contracts';
import { limitedAs, publicRoot, type RequestLimiter } from '@omnivisor/openstack';
import type { FastifyInstance, FastifyRequest } from 'fastify';

export interface PassThrough {
  /** e.g. `/image`; the same there as here. */
  readonly prefix: string;
  /** Root of the service that answers. */
  readonly upstream: string;
}

const UPLOAD_DEADLINE = 6 * 3_600_000;
/** A public root in its parts. */
const ROOT = /^(https?):\/\/([^/]+)(.*)$/;

/**
 * Passes requests on as a stream in both directions, nothing is kept. The token goes with them: the service behind checks
 * it itself. What a client says about forwarding is believed only from a proxy that is trusted.
 */
export const passThrough = async (
  fastify: FastifyInstance,
  passed: readonly PassThrough[],
  trusts: (address: string) => boolean,
  limiter: RequestLimiter,
): Promise<void> => {
  for (const { prefix, upstream } of passed)
    await fastify.register(proxy, {
      upstream,
      prefix,
      rewritePrefix: prefix,
      // Whose request it is the service behind knows; from where it comes is known here.
      preHandler: async (request: FastifyRequest) => {
        const limited = limitedAs(askedOf(request, prefix));
        if (limited) await limiter.bySource(limited, request.ip);
      },
      // Bodies are streams already: the edge parses none by itself.
      proxyPayloads: false,
      undici: { connections: 128, bodyTimeout: 0, headersTimeout: UPLOAD_DEADLINE },
      replyOptions: {
        // A connection that was idle may end just when it is used: what only reads is asked once more.
        retriesCount: 1,
        rewriteRequestHeaders: (request, headers) => {
          // Who waits to be told before he sends a body has been told here.
          const { 'x-forwarded-prefix': _, expect: __, ...rest } = headers;
          const [, proto, host, path] = ROOT.exec(publicRoot(request, { trusted: trusts }))!;
          return {
            ...rest,
            'x-forwarded-for': request.ip,
            'x-forwarded-proto': proto,
            'x-forwarded-host': host,
            ...(path === '' ? {} : { 'x-forwarded-prefix': path }),
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

const ID = /\/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=\/|$)/g;

/** A request as far as limits have to know it: ids of things are parameters, and only images are sent as streams. */
const askedOf = ({ method, url }: FastifyRequest, prefix: string) => {
  const path = url.slice(prefix.length).split('?', 1)[0]!.replace(ID, '/:id');
  return { service: prefix.slice(1), method, path, stream: /^\/v2\/images\/:id\/(?:file|stage)$/.test(path) };
};
