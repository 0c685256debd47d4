/**
 * What a placement decision of the real scheduler costs, in this process: no log, no bus. Fleets of 1,000 to 100,000
 * hosts in three zones with eight signatures of traits, three quarters full; requests of 1 to 64 VCPU, half of them for a
 * zone, each with traits that it wants and does not want, each twentieth away from five others.
 */
import { ROOT } from '../start/options.mjs';
import { quantile } from './measure.mjs';

const dist = (file) => import(`${ROOT}/apps/scheduler/dist/${file}`);
const { World } = await dist('core/world.js');
const { defaultSettings } = await dist('core/settings.js');
const { decidePlacement } = await dist('scheduling/decision.js');
const { wantedOf } = await dist('scheduling/wanted.js');
const { inventoriesOf } = await dist('scheduling/host/inventory.js');

const settings = { ...defaultSettings, cpuAllocationRatio: 1, reservedHostMemoryMib: 0 };
const ZONES = ['az1', 'az2', 'az3'];
const TRAITS = ['CUSTOM_A', 'CUSTOM_B', 'CUSTOM_C'];
/** How often each size is asked for; after published traces: most are small. */
const SIZES = [1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 8, 8, 16, 32, 64];

/** A generator of numbers in [0, 1) that gives the same ones each time (mulberry32). */
const numbers = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};

const uuid = (kind, n) => `${kind}0000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

/** The fold of a log with so many hosts, and a way to add to it. */
const fleet = (hosts, random) => {
  const world = new World();
  const revisions = new Map();
  let position = 0;
  const apply = (stream, type, data) => {
    const revision = (revisions.get(stream) ?? -1) + 1;
    revisions.set(stream, revision);
    position += 1;
    world.apply({ stream, type, data, revision, position, recordedAt: '2026-01-01T00:00:00.000Z', context: {} });
  };
  const claim = (providerId, serverId, vcpus) =>
    apply(`provider-${providerId}`, 'AllocationClaimed', {
      providerId,
      serverId,
      attempt: 1,
      projectId: 'p',
      userId: 'u',
      resources: { VCPU: vcpus, MEMORY_MB: vcpus * 4_096, DISK_GB: vcpus },
    });
  for (let i = 0; i < hosts; i++) {
    const [hostId, providerId] = [uuid('a', i), uuid('b', i)];
    const vcpus = i % 2 ? 64 : 128;
    const facts = {
      hostname: `h${i}`,
      node: `h${i}`,
      machineId: `m${i}`,
      bootId: 'b',
      backend: 'fake',
      hypervisorType: 'QEMU',
      hypervisorVersion: 1,
      hostIp: '192.0.2.1',
      cpuInfo: { arch: 'x86_64' },
      vcpus,
      memoryMib: vcpus * 6_144,
      diskGib: vcpus * 100,
      traits: TRAITS.filter((_, bit) => (Math.floor(i / 3) >> bit) & 1),
      probes: [],
    };
    apply(`host-${hostId}`, 'HostEnrolled', {
      hostId,
      name: `h${i}`,
      availabilityZone: ZONES[i % 3],
      publicKey: 'k',
      providerId,
    });
    apply(`provider-${providerId}`, 'ProviderCreated', { providerId, name: `h${i}`, hostId });
    apply(`provider-${providerId}`, 'ProviderInventorySet', {
      providerId,
      inventories: inventoriesOf(facts, settings),
    });
    apply(`provider-${providerId}`, 'ProviderTraitsSet', { providerId, traits: facts.traits });
    apply(`host-${hostId}`, 'HostSessionStarted', { hostId, session: 1, facts });
    for (let used = 0, n = 0; used < vcpus * (0.55 + random() * 0.4) - 8; n++) {
      claim(providerId, uuid('c', i * 16 + n), 16);
      used += 16;
    }
  }
  return { world, apply, claim };
};

const requestFor = (n, random) => {
  const trait = TRAITS[n % 3];
  const without = TRAITS[(n + 1) % 3];
  const vcpus = SIZES[Math.floor(random() * SIZES.length)];
  return {
    serverId: uuid('d', n),
    attempt: 1,
    projectId: 'p',
    userId: 'u',
    flavor: {
      id: 'f',
      name: 'f',
      vcpus,
      memory: vcpus * 4_096,
      disk: vcpus,
      ephemeral: 0,
      swap: 0,
      extraSpecs: { [`trait:${trait}`]: 'required', [`trait:${without}`]: 'forbidden' },
    },
    image: { properties: {}, minDisk: 0, diskFormat: 'raw' },
    availabilityZone: n % 2 ? ZONES[n % 3] : null,
    requestedHost: null,
    hints: {},
    excludeHosts: [],
    networkHosts: [],
    position: 0,
  };
};

const round = (n, digits = 1) => Number(n.toFixed(digits));

/** @returns microseconds of a decision, and CPU microseconds of deciding, claiming and releasing together */
export const decisions = (hosts, samples) => {
  const random = numbers(7);
  const { world, apply, claim } = fleet(hosts, random);
  const placed = [];
  const times = [];
  let refused = 0;
  let before;
  for (let n = 0; n < samples * 2; n++) {
    if (n === samples) before = process.cpuUsage();
    const request = requestFor(n, random);
    const others = n % 20 === 0 ? placed.slice(-5) : [];
    if (others.length > 0) request.hints.different_host = others.map((p) => p.serverId);
    const from = performance.now();
    const wanted = wantedOf(request, {
      hostsOf: (id) => world.hostsOf(id),
      groupOf: () => undefined,
      machineOf: () => undefined,
    });
    const { chosen } = decidePlacement(world.index, wanted, settings, world.position);
    if (n >= samples) times.push((performance.now() - from) * 1_000);
    if (!chosen) {
      refused++;
      continue;
    }
    claim(chosen.providerId, request.serverId, request.flavor.vcpus);
    placed.push({ providerId: chosen.providerId, serverId: request.serverId });
    const [gone] = placed.splice(Math.floor(random() * placed.length), 1);
    apply(`provider-${gone.providerId}`, 'AllocationReleased', { ...gone, attempt: 1, reason: 'absent' });
  }
  const { user, system } = process.cpuUsage(before);
  return {
    hosts,
    samples,
    p50Us: round(quantile(times, 0.5)),
    p99Us: round(quantile(times, 0.99)),
    cpuWithClaimUs: round((user + system) / samples),
    refused: round(refused / (2 * samples), 3),
  };
};

/** A request as the controllers of placement see it, and its answer as text. */
const asker = async (world) => {
  await import('reflect-metadata');
  const { CandidatesController } = await dist('placement/candidates.controller.js');
  const controller = new CandidatesController({ fresh: async () => world });
  return async (query, minor) => {
    const since = (version) => Number(version.split('.')[1]) <= minor;
    const values = Object.fromEntries(Object.entries(query).map(([key, value]) => [key, [value]]));
    const { body } = await controller.list({ query: values, since, publicUrl: 'http://127.0.0.1/placement' });
    return JSON.stringify(body);
  };
};

/**
 * Shapes of allocation candidates that OpenStack's Placement is known to be slow at (its bugs 1828937 and 2126751), on as
 * many providers; ours have no nested ones. CPU milliseconds of an answer, its text included.
 */
export const candidates = async () => {
  const { world } = fleet(6_000, numbers(3));
  const ask = await asker(world);
  const all = { resources: 'VCPU:1,MEMORY_MB:512,DISK_GB:1' };
  const groups = Object.fromEntries(
    Array.from({ length: 8 }, (_, i) => [[`resources${i + 1}`, 'VCPU:1,MEMORY_MB:256']]).flat(),
  );
  const shapes = [
    ['6,000 providers at 1.29', 100, 29, all],
    ['6,000 providers at 1.25', 100, 25, all],
    ['8 groups of resources, limit 1,000', 50, 39, { ...groups, group_policy: 'none', limit: '1000' }],
  ];
  const result = [];
  for (const [shape, barMs, minor, query] of shapes) {
    const rounds = 10;
    for (let i = 0; i < 3; i++) await ask(query, minor);
    const found = JSON.parse(await ask(query, minor)).allocation_requests.length;
    const before = process.cpuUsage();
    for (let i = 0; i < rounds; i++) await ask(query, minor);
    const { user, system } = process.cpuUsage(before);
    result.push({ shape, found, cpuMs: round((user + system) / 1_000 / rounds), barMs });
  }
  return result;
};

const main = async () => {
  const result = { decisions: [1_000, 10_000, 100_000].map((hosts) => decisions(hosts, 10_000)) };
  result.candidates = await candidates();
  console.log(JSON.stringify(result));
};

// A process of its own: what it keeps in memory is none of the cloud's.
if (process.argv[1] === import.meta.filename) await main();
