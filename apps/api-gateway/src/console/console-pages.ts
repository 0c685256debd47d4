import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import serveFiles from '@fastify/static';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { pageHeaders } from '../core/page-headers.js';

/** Beside `src` and `dist`, as far from here as from there. */
const PAGE = fileURLToPath(new URL('../../assets/console', import.meta.url));
const NOVNC = dirname(dirname(fileURLToPath(import.meta.resolve('@novnc/novnc'))));

/**
 * The page that shows a VNC console, with noVNC behind it.
 * @param framedBy origins of pages that may show it in a frame, as a dashboard does
 */
export const serveConsolePages = async (fastify: FastifyInstance, framedBy: readonly string[]): Promise<void> => {
  // Pictures come as data, and the guest's pointer is one.
  const headers = pageHeaders(["'self'", ...framedBy], 'img-src data: blob:');
  const common = {
    index: false,
    decorateReply: false,
    cacheControl: false,
    wildcard: false,
    setHeaders: (reply: FastifyReply) => void reply.headers(headers),
  } as const;
  await fastify.register(serveFiles, { ...common, root: PAGE, prefix: '/console/' });
  for (const folder of ['core', 'vendor'])
    await fastify.register(serveFiles, { ...common, root: join(NOVNC, folder), prefix: `/console/novnc/${folder}/` });
};
