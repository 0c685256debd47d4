import { chmod, mkdir, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { dirname } from 'node:path';
import type { OnMetadata } from '../network-plug.js';

/** Where the metadata processes of the machine's networks bring the requests of an agent's guests. */
export const listenForMetadata = async (path: string, onMetadata: OnMetadata): Promise<Server> => {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  await rm(path, { force: true });
  const server = createServer({ requestTimeout: 10_000 }, (request, response) => {
    const networkId = `${request.headers['x-omnivisor-network'] ?? ''}`;
    const source = `${request.headers['x-omnivisor-source'] ?? ''}`;
    onMetadata(networkId, source, (request.url ?? '/').slice(0, 2_048)).then(
      (reply) => {
        response.writeHead(reply.status, { 'content-type': reply.contentType });
        response.end(request.method === 'HEAD' ? undefined : reply.body);
      },
      () => {
        response.writeHead(503, { 'content-type': 'text/plain', 'retry-after': '1' });
        response.end();
      },
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => resolve());
  });
  // Only root writes to it: guests reach it through the metadata process alone.
  await chmod(path, 0o600);
  server.unref();
  return server;
};
