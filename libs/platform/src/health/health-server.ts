import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { answerHealth, type Health, healthMetrics } from './health.js';

/** Health and metrics on a port of their own, for services without HTTP and for what must not be public. */
export class HealthServer {
  private constructor(
    private readonly server: Server,
    readonly port: number,
  ) {}

  /** @param port 0 for a free one */
  static async listen(health: Health, metrics: Registry, host: string, port: number): Promise<HealthServer> {
    healthMetrics(metrics, health);
    const server = createServer((request, response) => {
      const path = (request.url ?? '/').split('?')[0]!;
      answerHealth(path, health, metrics)
        .then((answer) => {
          response.writeHead(answer?.status ?? 404, { 'content-type': answer?.contentType ?? 'text/plain' });
          response.end(answer?.body ?? 'not found\n');
        })
        .catch(() => response.writeHead(500).end());
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, resolve);
    });
    return new HealthServer(server, (server.address() as AddressInfo).port);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
