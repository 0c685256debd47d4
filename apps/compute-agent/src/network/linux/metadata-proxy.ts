import { createHash } from 'node:crypto';

/**
 * The process that listens for metadata requests inside a network's namespace. It finds the port with the request's source address among the port files, and hands the request to the
 * agent that plugged it; for a guest that asked from its link-local address it names the port's first address.
 * Arguments: addresses with commas, network id, folder of the port files. Plain text, because a process in another namespace is another
 * program; it needs nothing but Node.
 */
export const METADATA_PROXY = `
import http from 'node:http';
import { readFileSync, readdirSync } from 'node:fs';
const [addresses, networkId, folder] = process.argv.slice(-3);
const portOf = (address) => {
  for (const name of readdirSync(folder)) {
    if (!name.endsWith('.json')) continue;
    try {
      const { plug, linkLocal, agent } = JSON.parse(readFileSync(folder + '/' + name, 'utf8'));
      const addresses = plug.fixedIps.map((ip) => ip.address);
      if (addresses.includes(address)) return { agent, source: address };
      if (linkLocal === address && addresses.length > 0) return { agent, source: addresses[0] };
    } catch {
      continue; // replaced or removed while we looked
    }
  }
};
const answer = (request, response) => {
  const fail = (status) => { response.writeHead(status, { 'content-type': 'text/plain' }); response.end(); };
  const from = (request.socket.remoteAddress ?? '').replace('::ffff:', '').replace(/%.*/, '');
  if (request.method !== 'GET' && request.method !== 'HEAD') return fail(405);
  const port = portOf(from);
  if (!port) return fail(404);
  const headers = { 'x-omnivisor-network': networkId, 'x-omnivisor-source': port.source };
  const forward = http.request({ socketPath: port.agent, path: request.url, headers, timeout: 10000 }, (reply) => {
    response.writeHead(reply.statusCode ?? 502, { 'content-type': reply.headers['content-type'] ?? 'text/plain' });
    reply.pipe(response);
  });
  forward.on('timeout', () => forward.destroy(new Error('timeout')));
  forward.on('error', () => (response.headersSent ? response.destroy() : fail(503)));
  forward.end();
};
for (const address of addresses.split(',')) {
  const server = http.createServer({ requestTimeout: 10000, maxHeaderSize: 8192 }, answer);
  server.maxConnections = 256;
  server.listen(80, address);
}
`;

/** Tells a process of this text from one that an older release has started. */
export const METADATA_PROXY_VERSION = `proxy-${createHash('sha256').update(METADATA_PROXY).digest('hex').slice(0, 12)}`;
