import { DomainError, type ImageFormat, type Milliseconds } from '@omnivisor/contracts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ImageContext } from '../core.js';
import { forHost, type ImageForms } from '../forms/image-forms.js';
import { formOf, isOriginal } from '../forms/stored-form.js';
import { rangeOf } from './byte-range.js';
import { BYTES_PATH, grantedBy } from './byte-urls.js';
import { type ImageRow, imagesTable, transfersTable } from './image.projection.js';

/** Seconds after which one asks again for what cannot be had just now. */
export const RETRY_AFTER = 2;
const STATUS: Statuses = { invalid: 400, unsupported: 501, conflict: 409, notFound: 404 };

/** Of the answers to errors, by their kind; 503 for the others. */
export interface Statuses {
  readonly [kind: string]: number;
}
type ByteRequest = FastifyRequest<{ Params: { id: string } }>;
export const queryOf = (request: FastifyRequest): Record<string, string> =>
  Object.fromEntries(new URL(request.raw.url ?? '/', 'http://x').searchParams);
export const say = (reply: FastifyReply, status: number, text = '') => reply.code(status).type('text/plain').send(text);
/** Answers a host whose request failed by what was foreseen. @throws all else */
export const sayWhy = (reply: FastifyReply, error: unknown, statuses: Statuses) => {
  if (!(error instanceof DomainError)) throw error;
  if (error.kind === 'unavailable') reply.header('retry-after', String(RETRY_AFTER));
  return say(reply, statuses[error.kind] ?? 503, error.message);
};

/** An image or a transfer, as hosts may ask for it. */
export const bytesRow = async ({ core }: ImageContext, id: string): Promise<ImageRow | undefined> => {
  const rows = await core.fresh();
  return (await rows.get(imagesTable, id)) ?? (await rows.get(transfersTable, id));
};

/** Serves bytes to compute hosts by signed URL: without a token, and nothing but the bytes of that image. */
export const mountByteRoute = (fastify: FastifyInstance, context: ImageContext, forms: ImageForms): void => {
  const { core, settings } = context;
  const serve = async (request: ByteRequest, reply: FastifyReply) => {
    const { id } = request.params;
    const grant = grantedBy(settings.signingKey, 'GET', id, queryOf(request), Date.parse(core.clock.now()));
    if (grant?.method !== 'GET') return say(reply, 403);
    const image = await bytesRow(context, id);
    if (!image?.uploadId || image.size === null || image.status !== 'active') return say(reply, 404);
    try {
      return await ((grant.format ?? formOf(image)) ? inForm(image, grant.format ?? formOf(image)!) : whole(image));
    } catch (error) {
      return sayWhy(reply, error, STATUS);
    }

    async function inForm(row: ImageRow, format: ImageFormat) {
      const form = await forms.ready(row, format, settings.patience as Milliseconds, forHost(row));
      if (!form) return say(reply.header('retry-after', String(RETRY_AFTER)), 503, 'The bytes are being converted.');
      reply.header('x-image-format', form.format);
      reply.header('accept-ranges', 'bytes');
      if (!isOriginal(row, format)) reply.header('x-image-derived', 'true');
      reply.header('etag', form.etag);
      const range = rangeOf(request.headers, form.size, form.etag);
      if (range === null) return say(reply.header('content-range', `bytes */${form.size}`), 416);
      if (range) reply.code(206).header('content-range', `bytes ${range.start}-${range.end}/${form.size}`);
      const length = range ? range.end - range.start + 1 : form.size;
      reply.header('content-type', 'application/octet-stream').header('content-length', String(length));
      return request.method === 'HEAD' ? reply.send() : reply.send(await forms.read(form, range));
    }

    async function whole(row: ImageRow) {
      reply.header('content-type', 'application/octet-stream').header('content-length', String(row.size));
      return request.method === 'HEAD' ? reply.send() : reply.send(await context.store.read(row.uploadId!));
    }
  };
  fastify.route<{ Params: { id: string } }>({ method: ['GET', 'HEAD'], url: `${BYTES_PATH}/:id`, handler: serve });
};
