/**
 * The process that listens on 169.254.169.254 inside a network's namespace. It finds the port with the request's source
 * address among the port files, and hands the request to the agent that plugged it. Arguments: network id, folder of the
 * port files. Plain text, because a process in another namespace is another program; it needs nothing but Node.
 */
export const METADATA_PROXY = `
import http from 'node:http';
import { readFileSync, readdirSync } from 'node:fs';
const [networkId, folder] = process.argv.slice(-2);
const agentOf = (address) => {
  for (const name of readdirSync(folder)) {
    if (!name.endsWith('.json')) continue;
    try {
      const { plug, agent } = JSON.parse(readFileSync(folder + '/' + name, 'utf8'));
      if (plug.fixedIps.some((ip) => ip.address === address)) return agent;
    } catch {
      continue; // replaced or removed while we looked
    }
  }
};
const server = http.createServer({ requestTimeout: 10000, maxHeaderSize: 8192 }, (request, response) => {
  const fail = (status) => { response.writeHead(status, { 'content-type': 'text/plain' }); response.end(); };
  const source = (request.socket.remoteAddress ?? '').replace('::ffff:', '');
  if (request.method !== 'GET' && request.method !== 'HEAD') return fail(405);
  const agent = agentOf(source);
  if (!agent) return fail(404);
  const headers = { 'x-omnivisor-network': networkId, 'x-omnivisor-source': source };
  const forward = http.request({ socketPath: agent, path: request.url, headers, timeout: 10000 }, (reply) => {
    response.writeHead(reply.statusCode ?? 502, { 'content-type': reply.headers['content-type'] ?? 'text/plain' });
    reply.pipe(response);
  });
  forward.on('timeout', () => forward.destroy(new Error('timeout')));
  forward.on('error', () => (response.headersSent ? response.destroy() : fail(503)));
  forward.end();
});
server.maxConnections = 256;
server.listen(80, '169.254.169.254');
`;
