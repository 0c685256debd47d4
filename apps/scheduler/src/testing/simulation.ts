import {
  type CommandId,
  type HostFacts,
  type HostId,
  hostBus,
  type RequestId,
  type ReserveRequest,
  reserve,
  type ServerId,
  at as subjectAt,
} from '@omnivisor/contracts';
import { MemoryEventStore, MemoryLeadership, MemorySeat } from '@omnivisor/eventsourcing/memory';
import type { SnapshotStore } from '@omnivisor/eventsourcing/snapshot';
import { MemoryBus, SeededIds, VirtualClock } from '@omnivisor/platform/testing';
import { defaultSettings, type SchedulerSettings } from '../core/settings.js';
import { Scheduler } from '../scheduler.js';
import { hostAggregate } from '../scheduling/host/host-lifecycle.js';

export const facts = (name: string, change: Partial<HostFacts> = {}): HostFacts => ({
  hostname: name,
  node: `${name}.example`,
  machineId: `machine-${name}`,
  bootId: 'boot-1',
  backend: 'fake',
  hypervisorType: 'fake',
  hypervisorVersion: 1_000_000,
  hostIp: '127.0.0.1',
  cpuInfo: { arch: 'x86_64' },
  vcpus: 4,
  memoryMib: 8_192,
  diskGib: 100,
  traits: ['HW_ARCH_X86_64'],
  probes: [],
  ...change,
});

export const plainSettings: SchedulerSettings = { ...defaultSettings, cpuAllocationRatio: 1, reservedHostMemoryMib: 0 };

/** One or more schedulers, a log and a bus in one process on virtual time. */
export class Simulation {
  readonly clock = new VirtualClock();
  readonly ids = new SeededIds(7);
  readonly bus = new MemoryBus(this.clock);
  readonly store = new MemoryEventStore(this.clock, this.ids);
  readonly seat = new MemorySeat();
  readonly errors: unknown[] = [];
  readonly schedulers: Scheduler[] = [];
  /** Where schedulers keep their world after each few events; nowhere when not given. */
  snapshots: SnapshotStore | undefined;

  /** @param alone true: it leads whatever others do, as in a split brain */
  async scheduler(settings: SchedulerSettings = plainSettings, alone = false): Promise<Scheduler> {
    const scheduler = new Scheduler(
      {
        clock: this.clock,
        ids: this.ids,
        bus: this.bus,
        store: this.store,
        leadership: new MemoryLeadership(alone ? new MemorySeat() : this.seat),
        ...(this.snapshots ? { snapshots: this.snapshots, snapshotEvery: 5 } : {}),
      },
      { settings, cloudId: 'cloud', onError: (where, error) => this.errors.push([where, error]) },
    );
    this.schedulers.push(scheduler);
    await scheduler.start();
    await this.settle();
    return scheduler;
  }

  async settle(): Promise<void> {
    await this.clock.advance(0 as never);
    await this.clock.advance(0 as never);
  }

  async stop(): Promise<void> {
    for (const s of this.schedulers) await s.stop();
  }

  context(name = this.ids.uuid()): ReserveRequest['context'] {
    const requestId = `req-${this.ids.uuid()}` as RequestId;
    return {
      actor: { kind: 'service', service: 'spec' },
      requestId,
      correlationId: requestId,
      causationId: null,
      commandId: name as CommandId,
    };
  }

  /** A host that is enrolled and up. */
  async host(scheduler: Scheduler, name: string, change: Partial<HostFacts> = {}, zone = 'nova'): Promise<HostId> {
    const hostId = this.ids.uuid() as HostId;
    await scheduler.core.commands.execute(
      hostAggregate,
      hostId,
      {
        type: 'enroll',
        hostId,
        name,
        availabilityZone: zone,
        publicKey: `key-${name}`,
        providerId: hostId as never,
      },
      this.context(),
    );
    await this.bus.request(hostBus.hello, { facts: facts(name, change) }, subjectAt(hostBus.hello, hostId));
    return hostId;
  }

  beat(hostId: HostId, session = 1): Promise<object> {
    return this.bus.request(hostBus.beat, { session }, subjectAt(hostBus.beat, hostId));
  }

  /** A server that was asked for, as its own stream begins. */
  async server(): Promise<ServerId> {
    const serverId = this.ids.uuid() as ServerId;
    await this.serverEvent(serverId, 'ServerCreateRequested', { serverId });
    return serverId;
  }

  async serverEvent(serverId: ServerId, type: string, data: object): Promise<void> {
    const past = await this.store.readStream(`server-${serverId}`);
    await this.store.append(`server-${serverId}`, past.length - 1, [
      { type, data: { serverId, ...data }, schemaVersion: 1, context: this.context() },
    ]);
  }

  request(
    serverId: ServerId,
    change: Partial<ReserveRequest> & { vcpus?: number; memory?: number } = {},
  ): ReserveRequest {
    const { vcpus = 1, memory = 1_024, ...rest } = change;
    return reserve.request.parse({
      serverId,
      attempt: 1,
      projectId: 'p1',
      userId: 'u1',
      flavor: { id: 'f', name: 'f', vcpus, memory, disk: 1, ephemeral: 0, swap: 0, extraSpecs: {} },
      image: {
        id: '33333333-3333-4333-8333-333333333333',
        name: 'i',
        diskFormat: 'raw',
        containerFormat: 'bare',
        size: 1,
        minDisk: 0,
        minRam: 0,
        sha512: '',
        properties: {},
      },
      availabilityZone: null,
      requestedHost: null,
      hints: {},
      excludeHosts: [],
      networkHosts: [],
      position: 0,
      context: this.context(`reserve:${serverId}:${rest.attempt ?? 1}`),
      ...rest,
    });
  }

  async typesOf(stream: string): Promise<string[]> {
    return (await this.store.readStream(stream)).map((e) => e.type);
  }
}
