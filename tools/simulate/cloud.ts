import { buffer } from 'node:stream/consumers';
import {
  AdminReply,
  AdminRequest,
  adminSubject,
  at,
  type CommandContext,
  type CommandId,
  endpoint,
  type HostId,
  hostBus,
  type ProjectId,
  type RequestId,
  type ServerId,
  seconds,
  signImageUrl,
} from '@omnivisor/contracts';
import { MemoryEventStore, MemoryLeadership, MemoryReadModel, MemorySeat } from '@omnivisor/eventsourcing/memory';
import { MemoryVault } from '@omnivisor/eventsourcing/vault';
import { MemoryBus, SeededIds, VirtualClock } from '@omnivisor/platform/testing';
import { quotaAggregate } from '../../apps/api-gateway/src/compute/quota/quota.js';
import { ownerOf } from '../../apps/api-gateway/src/compute/server/create/server.reservation.js';
import {
  type ServerCommand,
  serverAggregate,
} from '../../apps/api-gateway/src/compute/server/lifecycle/server-lifecycle.js';
import { type ServerRow, serverTable } from '../../apps/api-gateway/src/compute/server/view/server.projection.js';
import { Gateway } from '../../apps/api-gateway/src/gateway.js';
import { Agent } from '../../apps/compute-agent/src/agent/agent.js';
import type { ImageCache } from '../../apps/compute-agent/src/agent/ports.js';
import { FakeDriver, FakeHypervisor } from '../../apps/compute-agent/src/drivers/fake/index.js';
import type { HypervisorDriver } from '../../apps/compute-agent/src/drivers/hypervisor-driver.js';
import { hostFacts } from '../../apps/compute-agent/src/host/host-facts.js';
import { noImageBytes } from '../../apps/compute-agent/src/images/image-cache.js';
import { FakeNetworkPlug } from '../../apps/compute-agent/src/network/index.js';
import { type NetworkOffers, networkOffers } from '../../apps/compute-agent/src/network/network-offers.js';
import { Scheduler } from '../../apps/scheduler/src/scheduler.js';
import { Random } from './faults/random.js';
import { serverRequest } from './server-request.js';

const CLOUD = 'simulated';
const PROJECT = 'p1' as ProjectId;

export interface SimulatedHost {
  readonly id: HostId;
  readonly name: string;
  readonly machine: FakeHypervisor;
  /** What it offers of networks. */
  readonly network: NetworkOffers;
  bootId: string;
  agent: Agent;
  /** Makes the driver of an agent process: of the simulated machine, or of something that takes real time. */
  readonly open: (cloudId: string) => HypervisorDriver;
  /** Driver of the agent. */
  driver: HypervisorDriver;
}

export interface SimulationOptions {
  readonly seed?: number;
  readonly hosts?: number;
  readonly gateways?: number;
  readonly schedulers?: number;
  readonly vcpus?: number;
  /** False where a real image service answers. */
  readonly signsImages?: boolean;
}

/**
 * A whole cloud in one process: the real deciders, processes, scheduler and agents on a simulated clock, bus, store and
 * hypervisor.
 */
export class SimulatedCloud {
  readonly clock = new VirtualClock();
  readonly ids: SeededIds;
  readonly bus = new MemoryBus(this.clock);
  readonly store: MemoryEventStore;
  readonly readModel = new MemoryReadModel();
  readonly vault: MemoryVault;
  readonly errors: { where: string; error: unknown }[] = [];
  readonly gateways: Gateway[] = [];
  readonly schedulers: Scheduler[] = [];
  readonly hosts: SimulatedHost[] = [];
  /** Where the bytes of an image lie for a host. */
  giveDisk: ImageCache['path'] = noImageBytes.path;
  /** Takes the disks that hosts send; a real image service does where there is one. */
  takeDisk = async (_url: string, bytes: NodeJS.ReadableStream): Promise<void> => void (await buffer(bytes));
  private readonly seat = new MemorySeat();
  private requests = 0;
  private readonly random: () => number;

  private constructor(private readonly options: Required<SimulationOptions>) {
    this.ids = new SeededIds(options.seed);
    this.random = new Random(options.seed, 'agents').next;
    this.store = new MemoryEventStore(this.clock, this.ids);
    this.vault = new MemoryVault();
  }

  static async start(options: SimulationOptions = {}): Promise<SimulatedCloud> {
    const cloud = new SimulatedCloud({
      seed: 1,
      hosts: 3,
      gateways: 2,
      schedulers: 1,
      vcpus: 16,
      signsImages: true,
      ...options,
    });
    if (cloud.options.signsImages)
      await cloud.bus.respond(signImageUrl, async ({ imageId }) => ({ url: `memory:${imageId}` }));
    for (let i = 0; i < cloud.options.gateways; i++) await cloud.addGateway();
    for (let i = 0; i < cloud.options.schedulers; i++) await cloud.addScheduler();
    await cloud.clock.runUntil(() =>
      cloud.admin('host-list', {}).then(
        () => true,
        () => false,
      ),
    );
    for (let i = 0; i < cloud.options.hosts; i++) await cloud.addHost(`compute-${i + 1}`);
    return cloud;
  }

  async addGateway(): Promise<Gateway> {
    const gateway = new Gateway(
      { ...this.world, readModel: this.readModel, random: () => 0.5 },
      this.vault,
      this.note('gateway'),
    );
    await gateway.start();
    this.gateways.push(gateway);
    return gateway;
  }

  async addScheduler(): Promise<Scheduler> {
    const scheduler = new Scheduler(
      { ...this.world, leadership: new MemoryLeadership(this.seat) },
      { cloudId: CLOUD, onError: this.note('scheduler') },
    );
    await scheduler.start();
    this.schedulers.push(scheduler);
    return scheduler;
  }

  async addHost(name: string, network?: NetworkOffers): Promise<SimulatedHost> {
    const host = await this.enroll(name, network ? { network } : {});
    await this.startAgent(host);
    return host;
  }

  /** A host without an agent yet. @param open its driver; that of a simulated machine when not given */
  async enroll(
    name: string,
    { network = networkOffers({}, ['physnet1']), open }: Partial<Pick<SimulatedHost, 'network' | 'open'>> = {},
  ): Promise<SimulatedHost> {
    const key = Buffer.from(name)
      .toString('hex')
      .toUpperCase()
      .replace(/[^A-Z2-7]/g, 'A');
    const { hostId } = (await this.admin('host-enroll', {
      name,
      publicKey: `U${key.padEnd(55, 'B').slice(0, 55)}`,
    })) as { hostId: HostId };
    const machine = new FakeHypervisor({
      clock: this.clock,
      inventory: { vcpus: this.options.vcpus, memoryMib: 65_536, diskGib: 1_000 },
      delays: { spawn: seconds(2) },
    });
    const host: SimulatedHost = {
      id: hostId,
      name,
      machine,
      network,
      bootId: 'boot-1',
      open: open ?? ((cloudId) => new FakeDriver(machine, { cloudId })),
      agent: undefined as never,
      driver: undefined as never,
    };
    this.hosts.push(host);
    return host;
  }

  /** A new agent process on the host; the one before must have been stopped, or is ended by the newer session. */
  async startAgent(host: SimulatedHost): Promise<void> {
    await this.passing(this.newAgent(host).start());
  }

  newAgent(host: SimulatedHost): Agent {
    const driver = host.open(CLOUD);
    host.driver = driver;
    host.agent = new Agent({
      hostId: host.id,
      cloudId: CLOUD,
      clock: this.clock,
      bus: this.bus,
      driver,
      network: new FakeNetworkPlug(),
      images: {
        path: (image, url, signal) => this.giveDisk(image, url, signal),
        forget: noImageBytes.forget,
        send: (url, bytes) => this.takeDisk(url, bytes),
      },
      facts: () => this.facts(host),
      uptime: async () =>
        ` ${this.clock.now().slice(11, 19)} up 1 day,  0:00,  0 users,  load average: 0.00, 0.00, 0.00`,
      onError: this.note(host.name),
      random: this.random,
    });
    return host.agent;
  }

  admin(command: string, args: Record<string, unknown>): Promise<unknown> {
    return this.bus
      .request(endpoint(adminSubject('scheduler', command), AdminRequest, AdminReply), { args })
      .then((reply) => reply.result);
  }

  /** Asks for a server as the API does: quota first, then the request. */
  async create(change: { vcpus?: number; memory?: number } = {}): Promise<ServerId> {
    const serverId = this.ids.uuid() as ServerId;
    const context = this.context();
    const { commands } = this.gateways[this.requests % this.gateways.length]!.core;
    const { vcpus = 1, memory = 128 } = change;
    await commands.execute(
      quotaAggregate,
      PROJECT,
      {
        type: 'reserve',
        projectId: PROJECT,
        reservations: [{ owner: ownerOf(serverId), amounts: { instances: 1, cores: vcpus, ram: memory } }],
        atLeast: 1,
        defaults: {},
      },
      context,
    );
    await commands.execute(
      serverAggregate,
      serverId,
      { type: 'create', request: serverRequest(serverId, PROJECT, { vcpus, memory }) },
      context,
    );
    return serverId;
  }

  async send(command: ServerCommand & { readonly serverId: ServerId }): Promise<void> {
    const { commands } = this.gateways[this.requests % this.gateways.length]!.core;
    await commands.execute(serverAggregate, command.serverId, command, this.context());
  }

  delete(serverId: ServerId): Promise<void> {
    return this.send({ type: 'delete', serverId, asAdmin: false, now: this.clock.now() });
  }

  async server(id: ServerId): Promise<ServerRow> {
    const row = await (await this.gateways[0]!.core.fresh()).get(serverTable, id);
    if (!row) throw new Error(`no server ${id}`);
    return row;
  }

  async until(id: ServerId, holds: (server: ServerRow) => boolean, minutes = 30): Promise<ServerRow> {
    await this.clock.runUntil(async () => holds(await this.server(id)), seconds(minutes * 60));
    return this.server(id);
  }

  /** The host's guest of a server, on whatever host it is. */
  guests(id: ServerId) {
    return this.hosts.flatMap((h) => h.machine.all().filter((g) => g.mark.serverId === id));
  }

  /** Amounts that servers hold on each host, as the scheduler sees them. */
  async claims(): Promise<number> {
    const log = await this.store.readAll(0, 1_000_000);
    const count = (type: string) => log.filter((e) => e.type === type).length;
    return count('AllocationClaimed') - count('AllocationReleased');
  }

  /** Stops a host's agent; what it is in the middle of may take its time. */
  stopAgent({ agent }: SimulatedHost): Promise<void> {
    return this.passing(agent.stop());
  }

  /** What a new agent process does where an older one still runs: on one machine they are never at the guests together. */
  async replaceAgent(host: SimulatedHost): Promise<void> {
    const hello = async () =>
      this.bus.request(hostBus.hello, { facts: await this.facts(host) }, at(hostBus.hello, host.id));
    await this.passing(hello());
    await this.passing(host.agent.ended);
    await this.startAgent(host);
  }

  /** Lets time pass until the work is done. */
  async passing(work: Promise<unknown>): Promise<void> {
    let isDone = false;
    const done = () => {
      isDone = true;
    };
    work.then(done, done);
    await this.clock.runUntil(() => isDone);
    await work;
  }

  private async facts({ driver, name, network, bootId }: SimulatedHost) {
    const told = { node: name, hostIp: '127.0.0.1', machineId: 'machine-1', bootId, network };
    // A simulated machine is well at once; what takes real time has to be waited for.
    const signal = driver instanceof FakeDriver ? AbortSignal.abort() : AbortSignal.timeout(30_000);
    return hostFacts(driver, await driver.probe(signal), [], told);
  }

  async stop(): Promise<void> {
    for (const host of this.hosts) await this.stopAgent(host);
    for (const scheduler of this.schedulers) await scheduler.stop();
    for (const gateway of this.gateways) await gateway.stop();
  }

  private get world() {
    return { clock: this.clock, ids: this.ids, bus: this.bus, store: this.store };
  }

  private note(who: string) {
    return (where: string, error: unknown) => {
      this.errors.push({ where: `${who}: ${where}`, error });
    };
  }

  private context(): CommandContext {
    this.requests++;
    const requestId = `req-${this.ids.uuid()}` as RequestId;
    return {
      actor: { kind: 'user', userId: 'u1', projectId: PROJECT, roles: ['member'], address: '127.0.0.1' },
      requestId,
      correlationId: requestId,
      causationId: null,
      commandId: requestId as string as CommandId,
    };
  }
}
