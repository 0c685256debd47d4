import type { Client } from '../start/client.mjs';
import type { AllHypervisors } from './all-hypervisors.js';
import { type ApiServer, eventually } from './running-cloud.js';
import { eventsOf, words } from './scenario.js';

type Api = InstanceType<typeof Client>;

interface ShownMigration {
  readonly id: number;
  readonly uuid: string;
  readonly status: string;
  readonly source_compute: string;
  readonly dest_compute: string;
}

/** A server that moves, while it runs, between the two hosts of one kind. */
export class Journey {
  private seen = 0;

  private constructor(
    private readonly api: Api,
    private readonly all: AllHypervisors,
    readonly kind: string,
    readonly id: string,
  ) {}

  static async begin(
    api: Api,
    all: AllHypervisors,
    kind: string,
    things: Readonly<Record<'flavor' | 'image' | 'network', string>>,
  ): Promise<Journey> {
    const { server } = await api.post('compute', '/servers', {
      server: {
        ...{ name: `mover-${kind}`, imageRef: things.image, flavorRef: things.flavor },
        ...{ networks: [{ uuid: things.network }], availability_zone: `nova:${kind}` },
      },
    });
    const journey = new Journey(api, all, kind, server.id);
    await journey.restsOn(kind);
    return journey;
  }

  async shown(): Promise<ApiServer> {
    return (await this.api.get('compute', `/servers/${this.id}`)).server;
  }

  /** Runs there, all of it, and nothing of it is kept elsewhere. */
  async restsOn(host: string): Promise<void> {
    const look = async () => {
      const { status, fault, 'OS-EXT-SRV-ATTR:host': on, 'OS-EXT-STS:task_state': task } = await this.shown();
      return { status, fault, on, task, providers: (await this.claims()).length };
    };
    await eventually(
      `server ${this.id} rests on ${host}`,
      look,
      ({ status, on, task, providers }) => status === 'ACTIVE' && on === host && task === null && providers === 1,
      60,
    );
  }

  /** Ids of the hosts that hold something for the server, or for its newest migration. */
  async claims(): Promise<string[]> {
    const newest = await this.newest();
    const consumers = [this.id, ...(newest ? [newest.uuid] : [])];
    const found = await Promise.all(consumers.map((each) => this.api.get('placement', `/allocations/${each}`)));
    return found.flatMap(({ allocations }) => Object.keys(allocations));
  }

  async ports(): Promise<{ readonly host: string; readonly mac: string; readonly ips: unknown }[]> {
    const { ports } = await this.api.get('network', `/ports?device_id=${this.id}`);
    return ports.map((port: Record<string, unknown>) => ({
      ...{ host: port['binding:host_id'], mac: port.mac_address, ips: port.fixed_ips },
    }));
  }

  async newest(): Promise<ShownMigration | undefined> {
    return (await this.api.get('compute', `/os-migrations?instance_uuid=${this.id}`)).migrations[0];
  }

  migrate(how: { host?: string | null; block_migration?: boolean | 'auto' } = {}): Promise<unknown> {
    return this.act({ 'os-migrateLive': { host: null, block_migration: 'auto', ...how } });
  }

  act(action: object): Promise<unknown> {
    return this.api.post('compute', `/servers/${this.id}/action`, action);
  }

  /** Until the hypervisor is about to move it. @returns what the API shows of it then */
  async isUnderWay(): Promise<ShownMigration[]> {
    await eventually(
      `server ${this.id} is on its way`,
      () => this.all.isMoving(this.kind, this.id)!,
      (now) => now,
    );
    return (await this.api.get('compute', `/servers/${this.id}/migrations`)).migrations;
  }

  abort({ id }: ShownMigration): Promise<unknown> {
    return this.api.delete('compute', `/servers/${this.id}/migrations/${id}`);
  }

  /** What its log has got since it was asked before. */
  async news(): Promise<string[]> {
    const events = await eventsOf(this.api, this.id, this.seen);
    this.seen = events.at(-1)?.position ?? this.seen;
    return events.map(words);
  }

  async end(): Promise<void> {
    await this.api.delete('compute', `/servers/${this.id}`);
    await eventually(
      `server ${this.id} is gone`,
      () => this.shown().catch((error: { status: number }) => error.status),
      (now) => now === 404,
    );
  }
}
