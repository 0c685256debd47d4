import { Module } from '@nestjs/common';
import {
  at,
  type Bytes,
  beginSnapshotImage,
  type CommandId,
  describeImage,
  type Feature,
  FLAVOR_CATALOG,
  type FlavorId,
  features,
  gib,
  type HostFact,
  type HostFacts,
  type HostId,
  hostBus,
  type ImageSnapshot,
  isReached,
  mib,
  type NewEvent,
  notFound,
  type PortId,
  type Position,
  type RequestedNetwork,
  type RequestId,
  type SecurityGroupId,
  type ServerId,
  type ServerPort,
  type TokenContext,
  unavailable,
  type VaultRef,
} from '@omnivisor/contracts';
import { type Call, createOpenStackApp, type OpenStackApp } from '@omnivisor/openstack';
import { person } from '@omnivisor/openstack/testing';
import type { VirtualClock } from '@omnivisor/platform/testing';
import type { z } from 'zod';
import { memoryCore, memoryWorld } from '../core/gateway-core.fixtures.js';
import type { GatewayCore as Core } from '../core/gateway-core.js';
import { GatewayCore } from '../core/gateway-core.js';
import { gatewayProjections } from '../projections.js';
import { computeControllers, computeProviders } from './compute.api.js';
import {
  type AttachRequest,
  ComputeImages,
  ComputeNetwork,
  ComputeNetworkApi,
  ComputeSecrets,
  ComputeSettings,
  type PluggedServer,
} from './compute-ports.js';
import { flavorAggregate } from './flavor/flavor.js';
import { LiveAnswers } from './host/live-answers.js';
import { serverAggregate } from './server/lifecycle/server-lifecycle.js';

const GROUP = '11111111-1111-4111-8111-111111111111' as SecurityGroupId;

/** A network side that has one security group, `default`, and no opinion. */
class QuietNetwork extends ComputeNetwork {
  /** What was given back, `server/port`. */
  readonly released: string[] = [];
  async securityGroups(_: unknown, __: string, refs: readonly string[]) {
    const unknown = refs.find((r) => r !== 'default' && r !== GROUP);
    if (unknown !== undefined) throw notFound(`Security group ${unknown} not found for project p1.`);
    return [GROUP];
  }
  async groupNames(_: unknown, ids: readonly string[]) {
    return new Map(ids.map((id) => [id, 'default']));
  }
  async groupDetails() {
    return [{ id: GROUP, name: 'default', description: 'Default', tenant_id: 'p1', rules: [] }];
  }
  async resolve(_: unknown, __: string, ___: boolean, requested: 'auto' | readonly RequestedNetwork[]) {
    return requested === 'auto' ? [] : [...requested];
  }
  async haveNoMetadata() {
    return false;
  }
  async portStates(_: unknown, ports: readonly ServerPort[]) {
    return new Map(ports.map((p) => [p.portId as string, 'ACTIVE']));
  }
  async attach(_: unknown, { requested, serverId }: AttachRequest): Promise<ServerPort> {
    const portId = requested.portId ?? ('55555555-5555-4555-8555-555555555555' as PortId);
    return {
      ...port,
      portId,
      networkId: requested.networkId ?? port.networkId,
      ours: requested.portId === null,
      tag: serverId,
    };
  }
  async release(serverId: string, portId: PortId) {
    this.released.push(`${serverId}/${portId}`);
  }
  async regroup() {}
  async groupsOf(_: unknown, servers: readonly PluggedServer[]) {
    return new Map(servers.map(({ id, ports }) => [id, ports ? [GROUP] : []]));
  }
}

/** What needs a whole Network is tried with a whole API, not here. */
class NoNetworkApi extends ComputeNetworkApi {
  async ask(): Promise<never> {
    throw unavailable('there is no Network');
  }
}

/** An image service that knows `IMAGE`, and answers a change with what was asked for. */
class OneImage extends ComputeImages {
  private properties: Readonly<Record<string, string>> = { os_type: 'linux' };
  async ask(call: Call, method: string, path: string, patch: readonly object[] = []) {
    const shown = () => ({ ...glanceImage, ...this.properties });
    if (path.startsWith('/v2/images?')) return { status: 200, body: { images: [shown()] } };
    if (!path.endsWith(IMAGE) || call.token.projectId === 'p2') return { status: 404, body: undefined };
    if (method === 'DELETE') return { status: 403, body: undefined };
    const changed = { ...this.properties };
    for (const { op, path: at, value } of patch as { op: string; path: string; value: string }[])
      if (op === 'remove') delete changed[at.slice(1)];
      else changed[at.slice(1)] = value;
    this.properties = changed;
    return { status: 200, body: shown() };
  }
}

class MemorySecrets extends ComputeSecrets {
  private readonly texts = new Map<string, Buffer>();
  async seal(secret: Uint8Array): Promise<VaultRef> {
    const ref = `secret-${this.texts.size}`;
    this.texts.set(ref, Buffer.from(secret));
    return { ref, fingerprint: '00' };
  }
  async open(secret: VaultRef) {
    return this.texts.get(secret.ref) ?? Buffer.alloc(0);
  }
}

class TestSettings extends ComputeSettings {
  readonly quota = { instances: 100, cores: 100 };
}

/** Where `activate` places servers. */
export const HOST = '0a4b8f7e-16a1-4b93-8a5e-0d7a0c4f7a02' as HostId;
export const IMAGE = 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b01';
/** Small as a file, and of 100 TiB as a disk. */
export const VAST_IMAGE = 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b03';
/** As `IMAGE`, for servers with CPUs of their own. */
export const PINNED_IMAGE = 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b02';
const image = {
  id: IMAGE,
  name: 'tiny',
  diskFormat: 'qcow2',
  containerFormat: 'bare',
  size: 20_000_000,
  minDisk: 0,
  minRam: 0,
  sha512: '00',
  properties: { os_type: 'linux' },
} as unknown as ImageSnapshot;

const glanceImage = {
  id: IMAGE,
  name: 'tiny',
  status: 'active',
  size: 20_000_000,
  min_ram: 0,
  min_disk: 1,
  created_at: '2026-01-31T12:00:00Z',
  updated_at: '2026-01-31T12:00:01Z',
  visibility: 'public',
  os_hidden: false,
  tags: [],
};

const tokens: Readonly<Record<string, TokenContext>> = {
  member: person('p1', 'u1', ['member', 'reader']),
  other: person('p2', 'u2', ['member', 'reader']),
  reader: person('p1', 'u3', ['reader']),
  admin: person('p0', 'root', ['admin', 'member', 'reader']),
};

type Question = Exclude<z.output<typeof hostBus.Wake>, { kind: 'desired' }>;

export interface ComputeApp {
  readonly app: OpenStackApp;
  readonly core: Core;
  readonly clock: VirtualClock;
  /** Errors of the service itself: 500s and what led to them. */
  readonly complaints: { message: string; fields: unknown }[];
  call(
    method: string,
    path: string,
    options?: { as?: keyof typeof tokens & string; version?: string; body?: unknown },
  ): Promise<{ status: number; body: never; headers: Record<string, string>; text: string }>;
  /** A server of the one flavor and the one image, without networks, and what else is said of it. @returns its id */
  create(more?: object): Promise<string>;
  /** Takes a server to ACTIVE on a host, as its processes and its host would. */
  activate(serverId: string): Promise<void>;
  /** The scheduler has a place for the other flavor of a server. */
  place(serverId: string, attempt: number): Promise<void>;
  /** What the host of a server says of it; `requestId`: of what was asked for by that request. */
  report(serverId: string, fact: HostFact, requestId?: string): Promise<void>;
  /** Images beside the one, by id, and what differs from it. */
  readonly images: Map<string, Partial<ImageSnapshot>>;
  /** Images that were begun for snapshots. */
  readonly snapshots: { readonly imageId: string; readonly properties: object }[];
  /** What the host of servers answers to live questions from now on; undefined: nothing. */
  hostAnswers: (question: Question) => Partial<z.input<typeof hostBus.answer.request>> | undefined;
  /** The whole log. */
  events(): Promise<readonly { readonly type: string }[]>;
  /** The host has missed its beats. */
  hostGoesDown(): Promise<void>;
  /** The host has left the cloud, and its servers have not heard of it yet. */
  hostLeaves(): Promise<void>;
  /** The host is up, and has all features but these from now on. */
  hostLacks(...lacking: Feature[]): Promise<void>;
  close(): Promise<void>;
}

/**
 * The Compute API over memory adapters, with one flavor `1` (m1.tiny) and one image.
 * @param isNew false for a world whose log has the flavor already
 */
export const computeApp = async (given = memoryWorld(), isNew = true): Promise<ComputeApp> => {
  const { core, world } = memoryCore(gatewayProjections, given);
  const live = new LiveAnswers(core);
  const provide = <T>(type: abstract new (...args: never[]) => T, useValue: T) => ({ provide: type, useValue });
  @Module({
    controllers: computeControllers,
    providers: [
      ...computeProviders,
      provide(GatewayCore, core),
      provide(LiveAnswers, live),
      provide(ComputeNetwork, new QuietNetwork()),
      provide(ComputeImages, new OneImage()),
      provide(ComputeNetworkApi, new NoNetworkApi()),
      provide(ComputeSecrets, new MemorySecrets()),
      provide(ComputeSettings, new TestSettings()),
    ],
  })
  class TestModule {}
  const images: ComputeApp['images'] = new Map([
    [IMAGE, {} as Partial<ImageSnapshot>],
    [VAST_IMAGE, { virtualSize: (100 * 1024 ** 4) as Bytes }],
    [PINNED_IMAGE, { properties: { hw_cpu_policy: 'dedicated' } }],
  ]);
  await world.bus.respond(describeImage, async ({ imageId }) => {
    const own = images.get(imageId);
    const facts = { id: imageId, status: 'active', visibility: 'public', owner: null };
    return { image: own ? { ...image, ...own, ...facts } : null };
  });
  const snapshots: ComputeApp['snapshots'] = [];
  await world.bus.respond(beginSnapshotImage, async (begun) => {
    snapshots.push(begun);
    return { url: 'http://image.internal/snapshot' };
  });
  const complaints: { message: string; fields: unknown }[] = [];
  const complain = (fields: object, message: string) => void complaints.push({ message, fields });
  const app = await createOpenStackApp({
    module: TestModule,
    services: ['compute'],
    tokens: () => ({ validate: async (t: string) => tokens[t] ?? null }),
    logger: { debug: () => {}, info: () => {}, warn: () => {}, error: complain },
    lookingBack: (moment, read) => core.lookingBack(moment, read),
  });
  let commands = 0;
  const context = (requestId = 'req-00000000-0000-4000-8000-000000000000') => ({
    actor: { kind: 'service' as const, service: 'test' },
    requestId: requestId as RequestId,
    correlationId: requestId as RequestId,
    causationId: null,
    commandId: `fixture-${commands++}` as CommandId,
  });
  if (isNew)
    await core.commands.execute(
      flavorAggregate,
      FLAVOR_CATALOG,
      {
        type: 'create',
        flavor: {
          flavorId: '1' as FlavorId,
          name: 'm1.tiny',
          vcpus: 1,
          memory: mib(128),
          disk: gib(1),
          ephemeral: gib(0),
          swap: mib(0),
          rxtxFactor: 1,
          isPublic: true,
          description: null,
        },
      },
      context(),
    );
  const host = HOST;
  const report = async (id: string, fact: HostFact, requestId?: string) => {
    const serverId = id as ServerId;
    const command = { type: 'report', serverId, host, attempt: 1, fact, now: core.clock.now() } as const;
    await core.commands.execute(serverAggregate, serverId, command, context(requestId));
  };
  /** Sessions of the host so far. */
  let sessions = 0;
  const tell = async (type: string, data: object) => {
    const stream = `host-${host}`;
    const past = await world.store.readStream(stream);
    const event = { type, schemaVersion: 1, data, context: context() } as unknown as NewEvent;
    await world.store.append(stream, past.length - 1, [event]);
  };
  const hostLacks = async (...lacking: Feature[]) => {
    const enrolled = { hostId: host, name: 'compute-1', availabilityZone: 'nova', publicKey: 'U', providerId: host };
    if (sessions === 0) await tell('HostEnrolled', enrolled);
    const has = (Object.keys(features) as Feature[]).filter(
      (feature) => isReached(feature) && !lacking.includes(feature),
    );
    const facts = hostFacts(has.map((feature) => features[feature].trait));
    await tell('HostSessionStarted', { hostId: host, session: ++sessions, facts });
  };
  if (isNew) await hostLacks();
  await live.start();
  await world.bus.subscribe(hostBus.wakeSubject(host), async (message) => {
    const wake = hostBus.Wake.parse(message);
    const said = wake.kind === 'desired' ? undefined : made.hostAnswers(wake);
    if (!said || wake.kind === 'desired') return;
    const { question } = wake;
    const answer = { session: sessions, question, ok: true, unsupported: false, body: '', ...said };
    await world.bus.request(hostBus.answer, answer, at(hostBus.answer, host));
  });
  const made: ComputeApp = {
    app,
    core,
    clock: world.clock,
    complaints,
    call: async (method, path, { as = 'member', version, body } = {}) => {
      const answer = await app.fastify.inject({
        method: method as 'GET',
        url: `/compute${path}`,
        headers: {
          host: 'cloud.example',
          'x-auth-token': as,
          ...(version === undefined ? {} : { 'openstack-api-version': `compute ${version}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
      });
      const text = answer.body;
      return {
        status: answer.statusCode,
        text,
        headers: answer.headers as Record<string, string>,
        body: (text.startsWith('{') ? JSON.parse(text) : undefined) as never,
      };
    },
    create: async (more = {}) => {
      const server = { name: 'web', flavorRef: '1', imageRef: IMAGE, networks: 'none', ...more };
      const { body, status, text } = await made.call('POST', '/v2.1/servers', { version: '2.104', body: { server } });
      if (status !== 202) throw new Error(`${status} ${text}`);
      return (body as { server: { id: string } }).server.id;
    },
    activate: async (id) => {
      const serverId = id as ServerId;
      const send = (command: Parameters<typeof serverAggregate.decide>[0]) =>
        core.commands.execute(serverAggregate, serverId, command, context());
      await send({
        type: 'schedule',
        ports: [port],
        schedule: {
          serverId,
          host,
          attempt: 1,
          hostName: 'compute-1',
          node: 'compute-1',
          providerId: host as never,
          availabilityZone: 'nova',
        },
      });
      await report(id, { kind: 'spawned', power: 'running', bootId: 'b' });
    },
    place: async (id, attempt) => {
      const serverId = id as ServerId;
      const command = { type: 'placeResize', serverId, host, attempt } as const;
      await core.commands.execute(serverAggregate, serverId, command, context());
    },
    report,
    images,
    snapshots,
    hostAnswers: () => undefined,
    events: () => world.store.readAll(0 as Position, 10_000),
    hostLacks,
    hostGoesDown: () => tell('HostWentDown', { hostId: host, session: sessions, missedBeats: 3 }),
    hostLeaves: () => tell('HostRetired', { hostId: host }),
    close: async () => {
      await live.stop();
      await app.close();
      await core.stop();
    },
  };
  return made;
};

const hostFacts = (traits: string[]): HostFacts => ({
  ...{ hostname: 'compute-1', node: 'compute-1', machineId: 'm', bootId: 'b', hostIp: '127.0.0.1', cpuInfo: {} },
  ...{ backend: 'fake', hypervisorType: 'fake', hypervisorVersion: 1_000_000 },
  ...{ vcpus: 8, memoryMib: 8_192, diskGib: 100, probes: [] },
  traits,
  snapshotFormats: ['qcow2'],
});

const port = {
  portId: '22222222-2222-4222-8222-222222222222',
  networkId: '33333333-3333-4333-8333-333333333333',
  networkName: 'private',
  mac: 'fa:16:3e:00:00:01',
  fixedIps: [{ subnetId: '44444444-4444-4444-8444-444444444444', address: '10.0.0.5', version: 4 }],
  ours: true,
  tag: null,
} as unknown as ServerPort;
