import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { isReady } from './replica.js';
import { joined } from './sockets.js';

export interface BalancedReplica {
  readonly port: number;
  readonly healthPort: number;
}

/** How often it asks whether replicas are ready, in milliseconds. */
const INTERVAL = 200;

/**
 * One address in front of replicas, as a Service of Kubernetes is one: a new connection goes to a replica that was ready
 * when it was asked last; a connection that is there stays where it is. It knows nothing of HTTP and tries nothing again.
 */
export class Balancer {
  private ready: BalancedReplica[];
  private turn = 0;
  private readonly clients = new Set<Socket>();
  private readonly server = createServer((client) => this.connect(client));
  private readonly timer = setInterval(() => void this.look(), INTERVAL);

  private constructor(private readonly replicas: readonly BalancedReplica[]) {
    this.ready = [...replicas];
  }

  /** @param replicas all of them ready */
  static async before(replicas: readonly BalancedReplica[]): Promise<Balancer> {
    const balancer = new Balancer(replicas);
    balancer.server.listen(0, '127.0.0.1');
    await once(balancer.server, 'listening');
    return balancer;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  close(): void {
    clearInterval(this.timer);
    this.server.close();
    for (const client of this.clients) client.destroy();
  }

  private async look(): Promise<void> {
    const answers = await Promise.all(this.replicas.map((r) => isReady(r.healthPort)));
    this.ready = this.replicas.filter((_, i) => answers[i]);
  }

  private connect(client: Socket): void {
    const replica = this.ready[this.turn++ % this.ready.length];
    if (!replica) {
      client.destroy();
      return;
    }
    const upstream = connect({ port: replica.port, host: '127.0.0.1' });
    this.clients.add(client);
    client.on('close', () => this.clients.delete(client));
    joined(client, upstream);
  }
}
