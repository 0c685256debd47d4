import type { HostId, ServerId } from '@omnivisor/contracts';
import { MemoryLeadership, MemorySeat } from '@omnivisor/eventsourcing/memory';
import { at, thousandMoments, worldThen } from '@omnivisor/eventsourcing/testing';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Scheduler } from '../scheduler.js';
import { type PlacementApi, placementApi } from '../testing/placement-api.js';
import { plainSettings, Simulation } from '../testing/simulation.js';

const sim = new Simulation();

/** A random life of hosts, servers, and what clients of Placement register. */
const live = async (scheduler: Scheduler, api: PlacementApi, choices: readonly number[]) => {
  const hosts: HostId[] = [];
  const servers: ServerId[] = [];
  const [providers, consumers]: [string[], string[]] = [[], []];
  const change = (method: 'POST' | 'PUT' | 'DELETE', url: string, body?: object) =>
    api.call(method, url, { version: '1.12', ...(body ? { body } : {}) });
  const generation = async (id: string) => (await api.call('GET', `/resource_providers/${id}`)).json.generation;
  const one = <T>(of: readonly T[], choice: number) => of[Math.floor(choice / 10) % of.length];
  for (const choice of choices) {
    const [server, provider, consumer] = [one(servers, choice), one(providers, choice), one(consumers, choice)];
    switch (choice % 10) {
      case 0:
        if (hosts.length < 4) hosts.push(await sim.host(scheduler, `h${hosts.length}`, { vcpus: 4 + (choice % 5) }));
        break;
      case 1:
      case 2:
      case 3:
        servers.push(await sim.server());
        await scheduler.reserve.reserve(sim.request(servers.at(-1)!, { vcpus: 1 + (choice % 2) }));
        break;
      case 4:
        if (server) await sim.serverEvent(server, 'ServerDeleted', {});
        break;
      case 5:
        providers.push(sim.ids.uuid());
        await change('POST', '/resource_providers', {
          name: `own-${choice}-${providers.length}`,
          uuid: providers.at(-1),
        });
        break;
      case 6:
        if (provider)
          await change('PUT', `/resource_providers/${provider}/inventories`, {
            resource_provider_generation: await generation(provider),
            inventories: { VCPU: { total: 8 + (choice % 9) } },
          });
        break;
      case 7:
      case 8:
        if (provider) {
          consumers.push(sim.ids.uuid());
          await change('PUT', `/allocations/${consumers.at(-1)}`, {
            allocations: { [provider]: { resources: { VCPU: 1 } } },
            ...{ project_id: 'p1', user_id: 'u1' },
          });
        }
        break;
      default:
        if (consumer) await change('DELETE', `/allocations/${consumer}`);
    }
    await sim.settle();
  }
  return [
    '/resource_providers',
    '/usages?project_id=p1',
    ...[...hosts, ...providers].flatMap((id) =>
      ['', '/inventories', '/usages', '/allocations'].map((part) => `/resource_providers/${id}${part}`),
    ),
    ...[...servers, ...consumers].map((id) => `/allocations/${id}`),
  ];
};

/** Faults name their own request. */
const said = ({ status, json }: Awaited<ReturnType<PlacementApi['call']>>) => ({
  status,
  text: JSON.stringify(json).replace(/req-[0-9a-f-]+/g, 'req'),
});

it('tells at each of a thousand moments of a random life what it told then', { timeout: 60_000 }, async () => {
  const scheduler = await sim.scheduler();
  const api = await placementApi(scheduler.core);
  const paths = await live(scheduler, api, fc.sample(fc.nat(1_000), { numRuns: 150, seed: 3 }));
  const then = worldThen({ store: sim.store, clock: sim.clock });
  const seat = new MemoryLeadership(new MemorySeat());
  const was = new Scheduler(
    { clock: then.clock, ids: sim.ids, bus: sim.bus, store: then.store, leadership: seat },
    { settings: plainSettings, cloudId: 'cloud', onError: (where, error) => sim.errors.push([where, error]) },
  );
  const liveThen = await placementApi(was.core);
  let [told, found] = [0, 0];
  for (const [i, moment] of (await thousandMoments(sim.store)).entries()) {
    await then.goTo(moment);
    const path = paths[(i * 7) % paths.length]!;
    const [past, live] = [await api.call('GET', at(path, moment)), await liveThen.call('GET', path)];
    expect([path, moment, said(past)]).toEqual([path, moment, said(live)]);
    told++;
    if (live.status === 200) found++;
  }
  expect([told, found > 300]).toEqual([1_000, true]);
  for (const one of [api, liveThen]) await one.close();
  await sim.stop();
  expect(sim.errors).toEqual([]);
});
