import type { Readable } from 'node:stream';
import {
  AdminReply,
  AdminRequest,
  adminSubject,
  Bytes,
  type CommandContext,
  type CommandId,
  completeSnapshotImage,
  conflict,
  createDiskTransfer,
  DomainError,
  deleteDiskTransfer,
  endpoint,
  type HostId,
  hostBus,
  type MigrationId,
  ms,
  type NetworkId,
  notFound,
  type Position,
  type PowerOperation,
  type ProjectId,
  type RecordedEvent,
  type RequestId,
  type ServerId,
  seconds,
  signImageUrl,
} from '@omnivisor/contracts';
import { MemorySnapshots } from '@omnivisor/eventsourcing/snapshot';
import { MemoryVault } from '@omnivisor/eventsourcing/vault';
import type { Bus } from '@omnivisor/platform/ports';
import { SeededIds, VirtualClock } from '@omnivisor/platform/testing';
import { replay } from '../../../apps/api-gateway/src/audit/replay.js';
import { type HostRow, hostTable } from '../../../apps/api-gateway/src/compute/host/host.projection.js';
import { quotaAggregate } from '../../../apps/api-gateway/src/compute/quota/quota.js';
import { ownerOf } from '../../../apps/api-gateway/src/compute/server/create/server.reservation.js';
import {
  type ServerCommand,
  serverAggregate,
} from '../../../apps/api-gateway/src/compute/server/lifecycle/server-lifecycle.js';
import { serverTable } from '../../../apps/api-gateway/src/compute/server/view/server.projection.js';
import { Gateway } from '../../../apps/api-gateway/src/gateway.js';
import { network } from '../../../apps/api-gateway/src/network/network/network.js';
import { Subnets } from '../../../apps/api-gateway/src/network/subnet/subnets.js';
import { gatewayProjections } from '../../../apps/api-gateway/src/projections.js';
import { Agent } from '../../../apps/compute-agent/src/agent/agent.js';
import { hello } from '../../../apps/compute-agent/src/agent/take-up.js';
import type { HypervisorDriver } from '../../../apps/compute-agent/src/drivers/hypervisor-driver.js';
import { hostFacts } from '../../../apps/compute-agent/src/host/host-facts.js';
import { noImageBytes } from '../../../apps/compute-agent/src/images/image-cache.js';
import { FakeNetworkPlug } from '../../../apps/compute-agent/src/network/index.js';
import { Scheduler } from '../../../apps/scheduler/src/scheduler.js';
import { serverRequest } from '../server-request.js';
import type { BuggyAgent, PlantedBug } from './bugs.js';
import type { Accepted, Deed, Evidence } from './evidence.js';
import type { History } from './history.js';
import { GOES_ROUND, Life } from './life.js';
import { WatchedMachine } from './machine.js';
import { SimulatedNetwork } from './network.js';
import { type Service, SupervisedProcess } from './process.js';
import { Random } from './random.js';
import { SimulatedSeat } from './seat.js';
import { SimulatedDatabase } from './store.js';
import type { Trace } from './trace.js';
import { Witness } from './witness.js';

const CLOUD = 'simulated';
const PROJECT = 'p1' as ProjectId;
/** Small, so that servers compete. */
const LIMITS = { instances: 10, cores: 16 };
const NETWORKS = ['10.0.0.0/29', '10.0.1.0/28'];
const MEMORY = 256;
/** How often an operator asks for one thing, a second after the other. */
const MOST_ASKED = 120;

export interface FaultyHost {
  readonly id: HostId;
  readonly providerId: string;
  readonly name: string;
  readonly machine: WatchedMachine;
  plug: FakeNetworkPlug;
  boots: number;
  /** Agents that were ever started for it. */
  readonly agents: SupervisedProcess[];
  /** Who has the machine's lock. */
  lock: Life | undefined;
}

/**
 * A whole cloud in one process that can be hurt at any point: each service is a process of its own behind ports that
 * may fail, and everything that happens comes from the seed.
 */
export class FaultyCloud {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly database: SimulatedDatabase;
  readonly network: SimulatedNetwork;
  readonly seat = new SimulatedSeat(this.clock);
  readonly gateways: SupervisedProcess[] = [];
  readonly schedulers: SupervisedProcess[] = [];
  readonly hosts: FaultyHost[] = [];
  /** Servers that clients know of. */
  ids: ServerId[] = [];
  /** No service of the control plane is started anew while it is true. */
  private held = false;
  private readonly witness = new Witness(this.clock, (host, serverId) => {
    const guest = this.hosts.find((h) => h.id === host)?.machine.guest(serverId);
    return guest?.mark.attempt;
  });
  private readonly seeded: SeededIds;
  private readonly vault: MemoryVault;
  private readonly snapshots = new MemorySnapshots();
  private readonly cores = new Map<Life, Gateway>();
  private readonly networks: NetworkId[] = [];
  private readonly operator: Bus;
  /** Disks on their way. */
  private readonly transfers = new Map<string, 'waiting' | 'sent'>();
  private accepted: (Accepted & { readonly position: Position })[] = [];

  private constructor(
    private readonly history: Pick<History, 'seed' | 'hosts' | 'vcpus'>,
    private readonly trace: Trace,
    private readonly bug: PlantedBug | undefined,
  ) {
    this.random = new Random(history.seed, 'faults');
    this.seeded = new SeededIds(history.seed);
    this.vault = new MemoryVault(this.seeded);
    this.database = new SimulatedDatabase(this.clock, this.seeded, this.random);
    this.network = new SimulatedNetwork(this.clock, this.random);
    this.operator = this.network.portFor(new Life('operator', () => {}));
    this.database.observe((events) => this.appended(events));
  }

  static async start(
    history: Pick<History, 'seed' | 'hosts' | 'vcpus'>,
    trace: Trace,
    bug?: PlantedBug,
  ): Promise<FaultyCloud> {
    const cloud = new FaultyCloud(history, trace, bug);
    const images = new Life('images', () => {});
    const port = cloud.network.portFor(images);
    await port.respond(signImageUrl, async ({ imageId }) => ({ url: `memory:${imageId}` }));
    await cloud.takeTransfers(port);
    for (let i = 1; i <= 2; i++)
      cloud.schedulers.push(cloud.process(`scheduler-${i}`, (life) => cloud.scheduler(life)));
    for (let i = 1; i <= 2; i++) cloud.gateways.push(cloud.process(`gateway-${i}`, (life) => cloud.gateway(life)));
    await cloud.clock.runUntil(() => admin(cloud.operator, 'host-list', {}).then(isThere, isNotThere));
    for (let i = 1; i <= history.hosts; i++) await cloud.addHost(`compute-${i}`);
    await cloud.prepareProject();
    return cloud;
  }

  /** Moments that a backup may have been made at begin here. */
  head(): Promise<Position> {
    return this.database.log.head();
  }

  note(line: string): void {
    this.trace.note(`${this.clock.now()} ${line}`);
  }

  /** Processes that run, agents last. */
  running(): SupervisedProcess[] {
    const all = [...this.gateways, ...this.schedulers, ...this.hosts.flatMap((h) => h.agents)];
    return all.filter((p) => p.life.alive);
  }

  addAgent(host: FaultyHost, elsewhere = false): void {
    const name = `${host.name}-agent-${host.agents.length + 1}`;
    host.agents.push(this.process(name, (life, self) => this.agent(host, life, self, elsewhere)));
  }

  /** Asks for a server as the API does: quota first, then the request. Nobody waits for the answer. */
  create(vcpus: number, choice: number | null): void {
    const gateway = this.anyGateway();
    if (!gateway) return;
    const serverId = this.seeded.uuid() as ServerId;
    const networkId = choice === null ? undefined : this.networks[Math.floor(choice * this.networks.length)];
    const networks = networkId ? [{ networkId, portId: null, fixedIp: null, tag: null }] : ('none' as const);
    const context = this.context();
    const { commands } = gateway.core;
    const run = async () => {
      const amounts = { instances: 1, cores: vcpus, ram: MEMORY };
      const reservations = [{ owner: ownerOf(serverId), amounts }];
      await commands.execute(
        quotaAggregate,
        PROJECT,
        { type: 'reserve', projectId: PROJECT, reservations, atLeast: 1, defaults: {} },
        context,
      );
      const request = serverRequest(serverId, PROJECT, { vcpus, memory: MEMORY, networks });
      const done = commands.execute(serverAggregate, serverId, { type: 'create', request }, context);
      if (!this.bug?.answersEarly) return (await done).position;
      done.catch(() => {});
      return this.head();
    };
    this.asked('create', serverId, run());
  }

  delete(serverId: ServerId): void {
    this.send(serverId, { type: 'delete', serverId, asAdmin: false, now: this.clock.now() });
  }

  power(serverId: ServerId, operation: PowerOperation): void {
    this.send(serverId, { type: 'power', serverId, operation, asAdmin: true });
  }

  /** Moves a server to another host, or gives it another flavor that takes as much. */
  async move(serverId: ServerId, how: 'migrate' | 'liveMigrate' | 'resize'): Promise<void> {
    const migrationId = this.seeded.uuid() as MigrationId;
    const asked = { serverId, migrationId, asAdmin: true };
    if (how === 'resize') {
      const row = await this.database.rows.get(serverTable, serverId);
      const flavor = row && { ...row.flavor, id: `${row.flavor.id}+` as typeof row.flavor.id };
      if (flavor) this.send(serverId, { type: how, ...asked, flavor });
    } else this.send(serverId, { type: how, ...asked, requestedHost: null, disks: 'copied' } as ServerCommand);
  }

  /** What a server that has moved comes to. */
  async decide(serverId: ServerId, how: 'confirmResize' | 'revertResize' | 'abortMigration'): Promise<void> {
    if (how !== 'abortMigration') return this.send(serverId, { type: how, serverId, asAdmin: true });
    const row = await this.database.rows.get(serverTable, serverId);
    if (row?.migration) this.send(serverId, { type: how, serverId, asAdmin: true, migrationId: row.migration.id });
  }

  /** Makes a server's guest anew from an image, or lets it start from one for a while. */
  remake(serverId: ServerId, how: 'rebuild' | 'rescue' | 'unrescue'): void {
    const { image } = serverRequest(serverId, PROJECT, { vcpus: 1, memory: MEMORY });
    const asked = { serverId, asAdmin: true };
    if (how === 'rebuild') this.send(serverId, { type: how, ...asked, wanted: { image } });
    else this.send(serverId, how === 'rescue' ? { type: how, ...asked, image } : { type: how, ...asked });
  }

  /** Says of a server in error that it is active. */
  async reset(serverId: ServerId): Promise<void> {
    const row = await this.database.rows.get(serverTable, serverId);
    if (row?.vmState === 'error') this.send(serverId, { type: 'resetState', serverId, state: 'active' });
  }

  /** Brings an older log back, while hosts and guests go on. What clients were told since is lost with it. */
  async restore(position: Position): Promise<void> {
    this.held = true;
    for (const process of [...this.gateways, ...this.schedulers]) process.life.die('the log is restored');
    await this.clock.advance(seconds(60));
    await this.database.restore(position);
    this.witness.restored(position);
    this.accepted = this.accepted.filter((a) => a.position <= position);
    this.ids = this.ids.filter((id) => this.witness.streamOf(`server-${id}`).length > 0);
    this.held = false;
    for (const process of [...this.gateways, ...this.schedulers]) process.start();
  }

  /** An operator gives up every guest that is in quarantine. @returns how many there were */
  async discardStrays(): Promise<number> {
    const hosts = await this.database.rows.find<HostRow>(hostTable);
    const strays = hosts.flatMap((row) => undecided(row).map((serverId) => ({ host: row.name, serverId })));
    for (const stray of strays) {
      let settled = false;
      for (let asked = 0; !settled; asked++) {
        if (asked > MOST_ASKED) throw new Error('an operator is not heard');
        this.note(`an operator discards ${stray.serverId} on ${stray.host}`);
        const answer = admin(this.operator, 'host-quarantine-discard', stray).then(isThere, isGone);
        void answer.then((is) => {
          settled ||= is;
        });
        await this.clock.advance(seconds(1));
      }
    }
    return strays.length;
  }

  /** A host boots: its agents die with it, its guests are off. */
  bootHost(host: FaultyHost): void {
    for (const { life } of host.agents) life.die('the host boots');
    host.boots++;
    host.plug = new FakeNetworkPlug();
    host.machine.bootHost();
  }

  /** Ends every process: what waits for a signal would be kept for ever. */
  end(): void {
    for (const process of this.running()) {
      process.retired = true;
      process.life.die('all is over');
    }
  }

  /** @param replayed the read model is compared with a replay, which takes its time */
  async evidence(replayed: boolean): Promise<Evidence> {
    const { log, rows } = this.database;
    const hosts = await rows.find<HostRow>(hostTable);
    return {
      ...this.witness,
      accepted: this.accepted,
      hosts: this.hosts.map(({ id, providerId, machine }) => ({
        id,
        providerId,
        guests: machine.all().map(({ mark, power }) => ({ serverId: mark.serverId, attempt: mark.attempt, power })),
        quarantined: new Set(hosts.filter((h) => h.id === id).flatMap(undecided)),
      })),
      servers: await rows.find(serverTable),
      replay: replayed ? await replay(log, rows, gatewayProjections) : { equal: true, differences: [] },
    };
  }

  private process(
    name: string,
    begin: (life: Life, process: SupervisedProcess) => Promise<Service>,
  ): SupervisedProcess {
    const world = {
      clock: this.clock,
      note: (line: string) => {
        this.note(line);
        if (line.endsWith(GOES_ROUND)) this.witness.goingRound.push(line);
      },
      pause: () => ms(500 + this.random.below(8_000)),
      isHeld: () => this.held && !name.includes('agent'),
    };
    return new SupervisedProcess(name, world, begin);
  }

  private async gateway(life: Life): Promise<Service> {
    const { bug } = this;
    const ports = {
      ...this.portsOf(life),
      readModel: bug?.readModel?.(this.database.readModelFor(life)) ?? this.database.readModelFor(life),
      random: new Random(this.history.seed, life.name).next,
      snapshots: this.snapshots,
      snapshotEvery: 3,
    };
    const gateway = new Gateway(ports, this.vault, (where, error) => this.note(`${life.name} ${where}: ${error}`));
    bug?.gateway?.(gateway);
    await gateway.start();
    this.cores.set(life, gateway);
    return gateway;
  }

  private async scheduler(life: Life): Promise<Service> {
    const scheduler = new Scheduler(
      {
        ...this.portsOf(life),
        leadership: this.seat.leadershipFor(life),
        snapshots: this.snapshots.of('world', '1'),
        snapshotEvery: 20,
      },
      { cloudId: CLOUD, onError: (where, error) => this.note(`${life.name} ${where}: ${error}`) },
    );
    this.bug?.scheduler?.(scheduler);
    await scheduler.start();
    return scheduler;
  }

  private async agent(host: FaultyHost, life: Life, self: SupervisedProcess, elsewhere: boolean): Promise<Service> {
    const { clock } = this.portsOf(life);
    const plain = this.remembering(life, this.network.portFor(life));
    const driver = host.machine.driverFor(life, CLOUD);
    const bus = this.bug?.agentBus?.(plain, this.knownToBug(host, driver)) ?? plain;
    const facts = async () => {
      const told = { node: host.name, hostIp: '127.0.0.1', machineId: host.name, bootId: `boot-${host.boots}` };
      return hostFacts(driver, await driver.probe(life.signal), [], told);
    };
    if (!elsewhere) await this.alone(host, life, bus, facts);
    const agent = new Agent({
      hostId: host.id,
      cloudId: CLOUD,
      clock,
      bus,
      driver: this.bug?.driver?.(driver, clock as never) ?? driver,
      network: host.plug,
      images: {
        path: noImageBytes.path,
        forget: noImageBytes.forget,
        send: (url, bytes) =>
          life.call('send a disk', async () => {
            (bytes as Readable).destroy();
            if (this.transfers.has(url)) this.transfers.set(url, 'sent');
          }),
      },
      facts,
      onError: (where, error) => this.note(`${life.name} ${where}: ${error}`),
      random: new Random(this.history.seed, life.name).next,
    });
    void agent.ended.then(({ details }) => {
      self.retired = details?.superseded === true;
      life.die('its session is over');
    });
    await agent.start();
    return agent;
  }

  /** On one machine a lock keeps agents apart: who finds it taken ends the other one's session, and waits. */
  private async alone(
    host: FaultyHost,
    life: Life,
    bus: Bus,
    facts: () => Promise<Awaited<ReturnType<typeof hostFacts>>>,
  ): Promise<void> {
    if (host.lock?.alive) await hello({ bus, hostId: host.id }, await facts(), this.seeded.uuid());
    while (host.lock?.alive) await life.call('lock', () => this.clock.sleep(ms(200)));
    if (life.alive) host.lock = life;
  }

  private knownToBug(host: FaultyHost, driver: HypervisorDriver): BuggyAgent {
    return {
      hostId: host.id,
      driver,
      hosts: () => this.hosts.map((h) => h.id),
      newestSession: (id) => this.witness.sessionsOf(id).at(-1)?.session ?? 0,
    };
  }

  /** The bus of an agent, which is known by the session it was given. */
  private remembering(life: Life, bus: Bus): Bus {
    return {
      ...bus,
      request: async (asked, request, subject) => {
        const reply = await bus.request(asked, request, subject);
        if ((asked as unknown) === hostBus.hello) life.session = (reply as { session: number }).session;
        return reply;
      },
    };
  }

  private portsOf(life: Life) {
    const { bug } = this;
    const store = this.database.storeFor(life);
    return {
      clock: life.clock(this.clock),
      ids: this.seeded,
      bus: this.network.portFor(life),
      store: bug?.store?.(store) ?? store,
    };
  }

  private async addHost(name: string): Promise<void> {
    const key = `${name.replace(/[^a-z]/g, '').toUpperCase()}${'BCDEF'[this.hosts.length]}`;
    const publicKey = `U${key.padEnd(55, 'B')}`;
    const { hostId } = (await admin(this.operator, 'host-enroll', { name, publicKey })) as { hostId: HostId };
    const machine = new WatchedMachine(
      {
        clock: this.clock,
        inventory: { vcpus: this.history.vcpus, memoryMib: 4_096, diskGib: 100 },
        delays: { spawn: seconds(2) },
      },
      {
        made: (guest) => this.deed('made', host, guest.mark),
        removed: (guest) => this.deed('removed', host, guest.mark),
        runs: (guest) => this.runs(host, guest),
        lied: (id) => this.witness.liedAbout.add(id),
        begins: (life, method, id) => this.witness.begins(host.id, life, method, id),
      },
      this.random,
    );
    const enrolled = this.witness.streamOf(`host-${hostId}`)[0]!.data as { providerId: string };
    const host: FaultyHost = {
      id: hostId,
      providerId: enrolled.providerId,
      name,
      machine,
      plug: new FakeNetworkPlug(),
      boots: 1,
      agents: [],
      lock: undefined,
    };
    this.hosts.push(host);
    this.addAgent(host);
    await this.clock.runUntil(() =>
      this.witness.streamOf(`host-${hostId}`).some((e) => e.type === 'HostSessionStarted'),
    );
    await this.clock.runUntil(() => this.witness.streamOf(`provider-${host.providerId}`).length >= 3);
  }

  /** An image service that keeps of disks on their way only whether they have come. */
  private async takeTransfers(port: Bus): Promise<void> {
    await port.respond(createDiskTransfer, async ({ transferId: id }) => {
      if (this.transfers.get(id) === 'sent') throw conflict(`${id} has its bytes`);
      this.transfers.set(id, 'waiting');
      return { url: id };
    });
    await port.respond(completeSnapshotImage, async ({ imageId: id }) => {
      if (!this.transfers.has(id)) throw notFound(`no ${id}`);
      if (this.transfers.get(id) !== 'sent') throw conflict(`${id} waits for its bytes`);
      return { size: Bytes.parse(1), sha512: '0'.repeat(128), virtualSize: null };
    });
    await port.respond(deleteDiskTransfer, async ({ transferId: id }) => {
      this.transfers.delete(id);
      return {};
    });
  }

  private async prepareProject(): Promise<void> {
    const { core } = this.anyGateway()!;
    const { commands } = core;
    const limits = { type: 'setLimits', projectId: PROJECT, limits: LIMITS } as const;
    await commands.execute(quotaAggregate, PROJECT, limits, this.context());
    for (const cidr of NETWORKS) {
      const networkId = this.seeded.uuid() as NetworkId;
      await commands.execute(
        network,
        networkId,
        { type: 'create', networkId, projectId: PROJECT, attributes: NETWORK },
        this.context(),
      );
      await new Subnets(core).create({ cidr }, networkId, PROJECT, this.context());
      this.networks.push(networkId);
    }
    await core.fresh();
  }

  private anyGateway(): Gateway | undefined {
    const ready = this.gateways.flatMap((p) => (p.life.alive ? (this.cores.get(p.life) ?? []) : []));
    return ready.length === 0 ? undefined : this.random.pick(ready);
  }

  private send(serverId: ServerId, command: ServerCommand): void {
    const gateway = this.anyGateway();
    if (!gateway) return;
    const done = gateway.core.commands.execute(serverAggregate, serverId, command, this.context());
    const position = done.then((outcome) => outcome.position);
    this.asked(command.type === 'delete' ? 'delete' : 'act', serverId, position);
  }

  private asked(kind: Accepted['kind'], serverId: ServerId, answer: Promise<Position>): void {
    const { epoch } = this.witness;
    this.note(`a client asks to ${kind} ${serverId}`);
    answer.then(
      (changed) => {
        if (epoch !== this.witness.epoch) return;
        // What held already rests on the log as it is.
        const position = changed || this.witness.log.length;
        this.note(`accepted: ${kind} ${serverId}`);
        if (kind === 'create') this.ids.push(serverId);
        this.accepted.push({ kind, serverId, position });
      },
      (error) => this.note(`refused: ${kind} ${serverId}: ${error}`),
    );
  }

  private appended(events: readonly RecordedEvent[]): void {
    for (const { position, stream, revision, type } of events) this.note(`${position} ${stream} ${revision} ${type}`);
    this.witness.appended(events);
  }

  /** A guest has power: on no other host one of the same server may. */
  private runs({ id, name }: FaultyHost, { mark }: { readonly mark: { readonly serverId: ServerId } }): void {
    const { serverId } = mark;
    for (const other of this.hosts) {
      const guest = other.id === id ? undefined : other.machine.guest(serverId);
      if (guest?.power !== 'running' || guest.stage === 'incoming') continue;
      this.note(`${serverId} runs on ${name} and on ${other.name}`);
      if (this.witness.epoch === 0) this.witness.doubles.push(serverId);
    }
  }

  private deed(kind: Deed['kind'], { id, name }: FaultyHost, mark: { serverId: ServerId; attempt: number }): void {
    this.note(`${name} has ${kind} the guest of ${mark.serverId}/${mark.attempt}`);
    this.witness.deed(kind, id, mark);
  }

  private context(): CommandContext {
    const requestId = `req-${this.seeded.uuid()}` as RequestId;
    return {
      actor: { kind: 'user', userId: 'u1', projectId: PROJECT, roles: ['member'], address: '127.0.0.1' },
      requestId,
      correlationId: requestId,
      causationId: null,
      commandId: requestId as string as CommandId,
    };
  }
}

const NETWORK = {
  name: '',
  description: '',
  adminUp: true,
  shared: false,
  external: false,
  isDefault: false,
  portSecurity: true,
  mtu: 1450,
  dnsDomain: '',
  availabilityZoneHints: [],
};

/** Servers of guests in quarantine that nobody gave up. */
const undecided = ({ quarantine }: HostRow): string[] =>
  Object.keys(quarantine).filter((serverId) => quarantine[serverId]!.verdict !== 'discard');

const isThere = () => true;
const isNotThere = () => false;
const isGone = (error: unknown) => error instanceof DomainError && error.kind === 'notFound';

const admin = async (bus: Bus, command: string, args: Record<string, unknown>): Promise<unknown> =>
  (await bus.request(endpoint(adminSubject('scheduler', command), AdminRequest, AdminReply), { args })).result;
