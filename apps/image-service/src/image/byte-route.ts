import type { FastifyInstance } from 'fastify';
import type { ImageContext } from '../core.js';
import { BYTES_PATH, isGranted } from './byte-urls.js';
import { imagesTable } from './image.projection.js';

/** Serves bytes to compute agents by signed URL: without a token, and nothing but the bytes of that image. */
export const mountByteRoute = (fastify: FastifyInstance, { core, store, settings }: ImageContext): void => {
  fastify.get<{ Params: { id: string } }>(`${BYTES_PATH}/:id`, async (request, reply) => {
    const { id } = request.params;
    const query = Object.fromEntries(new URL(request.raw.url ?? '/', 'http://x').searchParams);
    const refuse = (status: number) => reply.code(status).type('text/plain').send('');
    if (!isGranted(settings.signingKey, id, query, Date.parse(core.clock.now()))) return refuse(403);
    const image = await (await core.fresh()).get(imagesTable, id);
    if (!image?.uploadId || image.size === null || image.status !== 'active') return refuse(404);
    const bytes = await store.read(image.uploadId);
    return reply
      .header('content-type', 'application/octet-stream')
      .header('content-length', String(image.size))
      .send(bytes);
  });
};
