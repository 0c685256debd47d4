/** The reference for reads: node:http with an answer of a given size, and nothing else. */
import { createServer } from 'node:http';

const bodies = new Map();
createServer((request, response) => {
  const size = Number(request.url?.slice(1) ?? 0);
  let body = bodies.get(size);
  if (!body) {
    body = JSON.stringify({ padding: 'x'.repeat(Math.max(0, size - 14)) });
    bodies.set(size, body);
  }
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length });
  response.end(body);
}).listen(0, '127.0.0.1', function () {
  process.send?.(this.address().port);
});
