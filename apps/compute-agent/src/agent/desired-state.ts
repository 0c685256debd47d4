import type { HostFact, hostBus, Instant } from '@omnivisor/contracts';
import type { z } from 'zod';
import type { NetworkPlan } from './ports.js';
import type { DesiredServer } from './reconcile.js';

/** What the log wants of this host, as far as it was told. */
export class DesiredState {
  /** Of the newest answer; 0 before the first. */
  version = 0;
  /** When the newest answer was asked for. */
  toldAt: Instant | undefined;
  private readonly servers = new Map<string, DesiredServer>();
  private readonly networks = new Map<string, NetworkPlan>();
  /** Attempts of guests in quarantine that an operator gave up, by server. */
  private discards = new Map<string, number>();

  take(reply: z.output<typeof hostBus.desired.reply>, askedAt: Instant): void {
    this.toldAt = askedAt;
    this.version = reply.version;
    if (reply.whole) {
      this.servers.clear();
      this.networks.clear();
    }
    for (const server of reply.servers) this.servers.set(server.serverId, server);
    for (const network of reply.networks) this.networks.set(network.networkId, network);
    this.discards = new Map(reply.discard.map((d) => [d.serverId, d.attempt]));
  }

  server(id: string): DesiredServer | undefined {
    return this.servers.get(id);
  }

  network(id: string): NetworkPlan | undefined {
    return this.networks.get(id);
  }

  discard(id: string): number | undefined {
    return this.discards.get(id);
  }

  discarded(id: string): void {
    this.discards.delete(id);
  }

  get serverIds(): string[] {
    return [...this.servers.keys()];
  }

  get discardIds(): string[] {
    return [...this.discards.keys()];
  }

  /** What the log has accepted is what it wants from now on. */
  learn({ serverId: id, attempt }: DesiredServer, fact: HostFact): void {
    const wanted = this.servers.get(id);
    if (wanted?.attempt !== attempt) return;
    const { operation } = wanted;
    if (fact.kind === 'absent' || fact.kind === 'spawnFailed') this.servers.delete(id);
    else if (fact.kind === 'spawned') this.servers.set(id, { ...wanted, spawned: true, power: fact.power });
    else if (fact.kind === 'powerChanged') this.servers.set(id, { ...wanted, power: fact.power });
    else if ('portId' in fact)
      this.servers.set(id, {
        ...wanted,
        interfaces: wanted.interfaces.filter((i) => i.portId !== fact.portId),
        ports: wanted.ports.filter(
          (p) => p.portId !== fact.portId || fact.kind !== 'interfaceDone' || fact.change === 'attach',
        ),
      });
    else if ('generation' in fact && operation?.generation === fact.generation)
      this.servers.set(id, {
        ...wanted,
        operation: { ...operation, done: true },
        build: fact.kind === 'operationDone' && fact.operation === 'rebuild' ? fact.generation : wanted.build,
        power: fact.power ?? wanted.power,
      });
  }
}
