import type { HostId, ProviderId } from '@omnivisor/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { defaultSettings } from '../core/settings.js';
import { facts, Simulation } from '../testing/simulation.js';
import type { Candidate, Wanted } from './candidate.js';
import { decidePlacement } from './decision.js';
import { classFilters, hostFilters } from './filters/index.js';
import { noHost } from './host/host.js';
import { inventoriesOf } from './host/inventory.js';
import { PlacementIndex } from './index/placement-index.js';
import { noProvider } from './provider/provider.js';
import { wantedOf } from './wanted.js';
import { freeOf } from './weighers/best-fit.js';

const TRAITS = ['CUSTOM_A', 'CUSTOM_B'];
const hostArb = fc.record({
  vcpus: fc.integer({ min: 1, max: 16 }),
  memoryMib: fc.integer({ min: 64, max: 4_096 }),
  zone: fc.constantFrom('az1', 'az2'),
  traits: fc.subarray(TRAITS),
  up: fc.boolean(),
  machine: fc.constantFrom('m1', 'm2'),
});
const wantArb = fc.record({
  vcpus: fc.integer({ min: 1, max: 8 }),
  memory: fc.integer({ min: 1, max: 3_000 }),
  zone: fc.constantFrom(null, 'az1'),
  trait: fc.constantFrom(null, ...TRAITS),
  forbidden: fc.constantFrom(null, ...TRAITS),
  machineIds: fc.constantFrom([], ['m1']),
  release: fc.boolean(),
});

const settings = { ...defaultSettings, cpuAllocationRatio: 2, reservedHostMemoryMib: 0 };
const sim = new Simulation();

const build = (hosts: readonly (typeof hostArb extends fc.Arbitrary<infer T> ? T : never)[]) => {
  const index = new PlacementIndex();
  hosts.forEach((h, i) => {
    const id = sim.ids.uuid() as HostId;
    const f = facts(`h${i}`, { vcpus: h.vcpus, memoryMib: h.memoryMib, traits: h.traits, machineId: h.machine });
    index.put(
      { ...noHost, exists: true, id, name: `h${i}`, availabilityZone: h.zone, up: h.up, facts: f },
      {
        ...noProvider,
        exists: true,
        id: id as string as ProviderId,
        hostId: id,
        inventories: inventoriesOf(f, settings),
        traits: h.traits,
      },
    );
  });
  return index;
};

const wanted = (w: typeof wantArb extends fc.Arbitrary<infer T> ? T : never): Wanted => {
  const { context: _, ...request } = sim.request(sim.ids.uuid() as never, { vcpus: w.vcpus, memory: w.memory });
  const extraSpecs = {
    ...(w.forbidden ? { [`trait:${w.forbidden}`]: 'forbidden' } : {}),
    ...(w.trait ? { [`trait:${w.trait}`]: 'required' } : {}),
  };
  return wantedOf(
    {
      ...request,
      availabilityZone: w.zone,
      networkHosts: [...w.machineIds] as HostId[],
      flavor: { ...request.flavor, extraSpecs },
    },
    { hostsOf: () => [], groupOf: () => undefined, machineOf: (host) => host },
  );
};

/** The slow and obvious way: every filter on every host. */
const reference = (index: PlacementIndex, w: Wanted) => {
  const fits: Candidate[] = [];
  const refused = new Map<string, number>();
  for (const host of index.hosts()) {
    const no =
      classFilters.map((f) => f.check(w, host.hostClass)).find((r) => r !== null) ??
      hostFilters.map((f) => f.check(w, host)).find((r) => r !== null);
    if (!no) fits.push(host);
    else refused.set(no.constraint, (refused.get(no.constraint) ?? 0) + 1);
  }
  return { fits, refused };
};

describe('a placement decision', () => {
  it('agrees with the naive reference in who fits, who is best and all its numbers, and never exceeds a capacity', () => {
    fc.assert(
      fc.property(fc.array(hostArb, { maxLength: 12 }), fc.array(wantArb, { maxLength: 25 }), (hosts, wants) => {
        const index = build(hosts);
        const held: [string, string][] = [];
        wants.forEach((w, n) => {
          const want = wanted(w);
          const truth = reference(index, want);
          const { chosen, explanation } = decidePlacement(index, want, settings, n);
          expect(explanation.hostsConsidered).toBe(hosts.length);
          expect(explanation.hostsFitting).toBe(truth.fits.length);
          const counted = new Map<string, number>();
          for (const r of explanation.refusals) counted.set(r.constraint, (counted.get(r.constraint) ?? 0) + r.hosts);
          expect(counted).toEqual(truth.refused);
          expect(chosen === null).toBe(truth.fits.length === 0);
          if (chosen) {
            expect(freeOf(chosen, 'VCPU')).toBe(Math.min(...truth.fits.map((h) => freeOf(h, 'VCPU'))));
            index.hold(chosen.hostId, String(n), want.resources);
            held.push([chosen.hostId, String(n)]);
          }
          if (w.release && held.length > 0) index.unhold(...held.shift()!);
          for (const host of index.hosts())
            for (const [resource, i] of Object.entries(host.inventories))
              expect(host.used(resource)).toBeLessThanOrEqual((i.total - i.reserved) * i.allocationRatio);
        });
      }),
      { numRuns: 150 },
    );
  });

  it('names a smallest change that really fits', () => {
    fc.assert(
      fc.property(fc.array(hostArb, { minLength: 1, maxLength: 8 }), wantArb, (hosts, w) => {
        const index = build(hosts);
        const want = wanted({ ...w, vcpus: w.vcpus * 8 });
        const { chosen, explanation } = decidePlacement(index, want, settings, 0);
        const change = explanation.smallestChange;
        if (chosen || !change?.startsWith('with at most')) return;
        const resources = { ...want.resources };
        for (const [, amount, name] of change.matchAll(/at most (\d+) (\w+)/g)) resources[name!] = Number(amount);
        expect(decidePlacement(index, { ...want, resources }, settings, 0).chosen).not.toBeNull();
      }),
      { numRuns: 200 },
    );
  });
});

describe('a server with CPUs of its own', () => {
  const host = (name: string, dedicatedCpus?: number, traits: string[] = []) => {
    const id = sim.ids.uuid() as HostId;
    const f = facts(name, {
      vcpus: 8,
      memoryMib: 8_000,
      traits,
      ...(dedicatedCpus === undefined ? {} : { dedicatedCpus }),
    });
    return { id, f };
  };
  const decide = (
    hosts: ReturnType<typeof host>[],
    extraSpecs: Record<string, string>,
    used: Record<string, number> = {},
  ) => {
    const index = new PlacementIndex();
    for (const { id, f } of hosts)
      index.put(
        { ...noHost, exists: true, id, name: f.hostname, availabilityZone: 'nova', up: true, facts: f },
        {
          ...noProvider,
          ...{ exists: true, id: id as string as ProviderId, hostId: id, used },
          ...{ inventories: inventoriesOf(f, settings), traits: f.traits },
        },
      );
    const { context: _, ...request } = sim.request(sim.ids.uuid() as never, { vcpus: 2, memory: 100 });
    const want = wantedOf(
      { ...request, flavor: { ...request.flavor, extraSpecs } },
      { hostsOf: () => [], groupOf: () => undefined, machineOf: () => undefined },
    );
    const { chosen, explanation } = decidePlacement(index, want, settings, 1);
    return { chosen: chosen?.name, resources: want.resources, explanation };
  };
  const dedicated = { 'hw:cpu_policy': 'dedicated' };

  it('takes PCPU instead of VCPU, one to one, of a host that has some', () => {
    const hosts = [host('plain'), host('few', 1), host('some', 2)];
    const { chosen, resources } = decide(hosts, dedicated);
    expect([chosen, resources.PCPU, resources.VCPU]).toEqual(['some', 2, undefined]);
    expect(decide(hosts, { 'resources:PCPU': '2' }).resources).toEqual(resources);
    const { chosen: none, explanation } = decide(hosts, dedicated, { PCPU: 1 });
    expect(none).toBeUndefined();
    expect(explanation.refusals.map((r) => [r.constraint, r.hosts])).toEqual([['PCPU', 3]]);
  });

  it('goes where threads of cores are as it wants them', () => {
    const hosts = [host('threads', 4, ['HW_CPU_HYPERTHREADING']), host('cores', 4)];
    const threads = (policy: string) => ({ ...dedicated, 'hw:cpu_thread_policy': policy });
    expect(decide(hosts, threads('require')).chosen).toBe('threads');
    expect(decide(hosts, threads('isolate')).chosen).toBe('cores');
  });
});
