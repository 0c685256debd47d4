import {
  type HostFact,
  hostBus,
  type ImageId,
  type NetworkId,
  type PortId,
  type ProjectId,
  type ServerId,
  unavailable,
  unsupported,
} from '@omnivisor/contracts';
import { MemoryBus, VirtualClock } from '@omnivisor/platform/testing';
import type { z } from 'zod';
import { testGuest } from '../drivers/common/test-guest.js';
import { FakeDriver, type FakeDriverOptions, FakeHypervisor } from '../drivers/fake/index.js';
import { hostFacts } from '../host/host-facts.js';
import { noImageBytes } from '../images/image-cache.js';
import { FakeNetworkPlug } from '../network/index.js';
import { Agent } from './agent.js';

export const cloudId = 'c';
export const id = (n: number) => `0c2c7a4e-52a3-4b8e-8f4d-00000000000${n}` as ServerId;
type Desired = z.input<typeof hostBus.DesiredServer>;

/** The control plane as one host hears it: what it wants is set, what it is told is kept. */
export class Desk {
  readonly servers = new Map<string, Desired>();
  readonly networks = new Map<string, hostBus.NetworkPlan>();
  readonly facts: (HostFact & { readonly serverId: string })[] = [];
  readonly quarantined: string[] = [];
  /** Guests in quarantine that an operator gave up. */
  discard: { serverId: ServerId; attempt: number }[] = [];
  readonly answers: z.output<typeof hostBus.answer.request>[] = [];
  /** Where a snapshot goes; null when nobody waits for it. */
  upload: { url: string | null; format: 'qcow2' } | null = { url: 'memory:snapshot', format: 'qcow2' };
  /** Forms of images that hosts asked for. */
  readonly asked: (readonly string[])[] = [];
  /** The image of servers can be had in no form that hosts take. */
  hasNoForm = false;
  /** Nobody hears of guests that the log does not ask for. */
  deaf = false;
  /** What hosts tell of servers is not answered. */
  mute = false;

  async open(bus: MemoryBus): Promise<void> {
    const boot = { imageUrl: 'memory:', imageId: id(9) as string as ImageId, configDrive: null };
    await bus.respond(hostBus.hello, async () => ({ session: 1, cloudId, hostName: 'h' }));
    await bus.respond(hostBus.beat, async () => ({ changedAt: 0 }));
    await bus.respond(hostBus.quarantine, async ({ guests }) => {
      if (this.deaf) throw unavailable('no scheduler');
      this.quarantined.splice(0, this.quarantined.length, ...guests.map((g) => g.serverId));
      return {};
    });
    await bus.respond(hostBus.confirm, async ({ changes }) => ({ confirmed: changes.map(() => true) }));
    await bus.respond(hostBus.serverBoot, async ({ imageFormats }) => {
      this.asked.push(imageFormats ?? []);
      if (this.hasNoForm) throw unsupported('The image cannot be had in these formats.');
      return boot;
    });
    await bus.respond(hostBus.answer, async (answer) => {
      this.answers.push(answer);
      return {};
    });
    await bus.respond(hostBus.snapshotUpload, async () => this.upload);
    await bus.respond(hostBus.desired, async () => ({
      version: 1,
      whole: true,
      servers: [...this.servers.values()],
      networks: [...this.networks.values()],
      groups: [],
      discard: this.discard,
    }));
    await bus.respond(hostBus.report, async ({ serverId, fact }) => {
      this.facts.push({ serverId, ...fact });
      if (this.mute) throw unavailable('no gateway');
      const server = this.servers.get(serverId);
      if (server && fact.kind === 'spawned') this.servers.set(serverId, { ...server, spawned: true });
      return { accepted: true, reason: null };
    });
  }

  /** Wants server `n` with port `n` on network `n`. */
  want(n: number, change: Partial<Desired> = {}): void {
    const { flavor, image, name } = testGuest(id(n), cloudId);
    const networkId = id(n) as string as NetworkId;
    const portId = id(n) as string as PortId;
    const projectId = 'p' as ProjectId;
    this.servers.set(id(n), {
      serverId: id(n),
      projectId,
      attempt: 1,
      tombstone: false,
      spawned: false,
      power: 'running',
      operation: null,
      name,
      flavor,
      image,
      configDrive: false,
      portIds: [portId],
      ports: [
        {
          portId,
          networkId,
          mac: 'fa:16:3e:00:00:01',
          mtu: 1500,
          adminUp: true,
          portSecurity: true,
          hostname: name,
          fixedIps: [],
          allowedPairs: [],
          securityGroups: [],
          rules: [],
          tag: null,
        },
      ],
      ...change,
    });
    this.networks.set(id(n), { networkId, projectId, mtu: 1500, subnets: [] });
  }
}

/** A fake machine under agents that come and go, and the desk that they report to. */
export class AgentWorld {
  readonly clock = new VirtualClock();
  readonly bus = new MemoryBus(this.clock);
  readonly desk = new Desk();
  readonly machine = new FakeHypervisor({ clock: this.clock });
  readonly network = new FakeNetworkPlug();
  readonly errors: string[] = [];
  /** Bytes of disks that were sent, and what the image service says of the next ones. */
  readonly sent: number[] = [];
  readonly refusals: Error[] = [];
  /** What `uptime` says on the machine; undefined where that is another than the agent's. */
  uptime: (() => Promise<string>) | undefined;

  static async open(): Promise<AgentWorld> {
    const world = new AgentWorld();
    await world.desk.open(world.bus);
    return world;
  }

  agent(without: FakeDriverOptions['without'] = []): Agent {
    const driver = new FakeDriver(this.machine, { cloudId, without });
    const { clock, bus, network } = this;
    const told = { node: 'h', hostIp: '127.0.0.1', machineId: 'm', bootId: 'b' };
    return new Agent({
      ...{ hostId: 'h', cloudId, clock, bus, driver, network },
      images: { ...noImageBytes, send: (_, bytes) => this.take(bytes) },
      facts: async () => hostFacts(driver, await driver.probe(AbortSignal.abort()), [], told),
      onError: (where) => this.errors.push(where),
      random: () => 0.5,
      ...(this.uptime ? { uptime: this.uptime } : {}),
    });
  }

  private async take(bytes: NodeJS.ReadableStream): Promise<void> {
    let size = 0;
    for await (const chunk of bytes) size += (chunk as Buffer).length;
    const refusal = this.refusals.shift();
    if (refusal) throw refusal;
    this.sent.push(size);
  }

  /** A server that was spawned before, with its guest on the machine. */
  async spawned(n: number, change: Partial<Desired> = {}): Promise<void> {
    const driver = new FakeDriver(this.machine, { cloudId });
    await driver.spawn(testGuest(id(n), cloudId), new AbortController().signal);
    this.desk.want(n, { spawned: true, ...change });
  }
}
