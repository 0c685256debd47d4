import type { ServerId } from '@omnivisor/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { plainSettings, Simulation } from '../testing/simulation.js';
import { Changes } from './alternative.js';
import { whatIf } from './what-if.js';

const server = async (sim: Simulation, vcpus: number) => {
  const serverId = sim.ids.uuid() as ServerId;
  const request = sim.request(serverId, { vcpus, memory: 1 });
  const { context: _, attempt: __, excludeHosts, networkHosts, position, ...asked } = request;
  await sim.serverEvent(serverId, 'ServerCreateRequested', { ...asked, networks: 'none' });
  return { ...request, position: await sim.store.head() };
};
const changes = (given: object) => Changes.parse(given);
const head = async (sim: Simulation) => sim.store.head();

/** A cloud of hosts, and requests one after the other. @returns where the requests begin */
const cloud = async (hosts: readonly number[], requests: readonly number[]) => {
  const sim = new Simulation();
  const scheduler = await sim.scheduler();
  for (const [i, vcpus] of hosts.entries()) await sim.host(scheduler, `h${i}`, { vcpus });
  await sim.settle();
  const from = await head(sim);
  const replies = [];
  const ids: ServerId[] = [];
  for (const vcpus of requests) {
    const request = await server(sim, vcpus);
    ids.push(request.serverId);
    replies.push(await scheduler.reserve.reserve(request));
    await sim.settle();
  }
  return { sim, scheduler, from, replies, ids };
};

describe('what if', () => {
  it('nothing had been different: nothing differs, whatever happened', async () => {
    const round = fc.record({
      together: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 5 }),
      leaves: fc.nat(2),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 }),
        fc.array(round, { maxLength: 5 }),
        fc.nat(100),
        async (hosts, rounds, cut) => {
          const { sim, scheduler } = await cloud(hosts, []);
          const placed: { serverId: ServerId; host: string }[] = [];
          for (const { together, leaves } of rounds) {
            const requests = await Promise.all(together.map((vcpus) => server(sim, vcpus)));
            const replies = await Promise.all(requests.map((r) => scheduler.reserve.reserve(r)));
            for (const [i, reply] of replies.entries())
              if (reply.kind === 'claimed') placed.push({ serverId: requests[i]!.serverId, host: reply.hostId });
            for (const { serverId, host } of placed.splice(0, leaves))
              await sim.serverEvent(serverId, 'ServerGuestAbsent', { host, attempt: 1 });
            await sim.settle();
          }
          const to = await head(sim);
          const result = await whatIf(sim.store, plainSettings, Math.floor((to * cut) / 100), to, changes({}));
          expect(result).toMatchObject({ same: result.decisions, differences: [], untold: 0 });
          expect(sim.errors).toEqual([]);
          await sim.stop();
        },
      ),
      { numRuns: 40 },
    );
  });

  it('there had been more hosts: what was refused is placed, until these are full too', async () => {
    const { sim, from } = await cloud([2], [2, 2, 2]);
    const result = await whatIf(
      sim.store,
      plainSettings,
      from,
      await head(sim),
      changes({ hosts: [{ like: 'h0', count: 1 }] }),
    );
    expect(result).toMatchObject({ decisions: 3, placed: 1, refused: 0 });
    expect(result.differences.map((d) => d.wouldBe)).toContain('h0+1');
    await sim.stop();
  });

  it('cores had been shared by fewer: some are refused, and what they would have fitted is told', async () => {
    const sim = new Simulation();
    const settings = { ...plainSettings, cpuAllocationRatio: 2 };
    const scheduler = await sim.scheduler(settings);
    await sim.host(scheduler, 'a', { vcpus: 2 });
    await sim.settle();
    const from = await head(sim);
    for (const vcpus of [1, 2]) await scheduler.reserve.reserve(await server(sim, vcpus));
    const result = await whatIf(
      sim.store,
      settings,
      from,
      await head(sim),
      changes({ settings: { cpuAllocationRatio: 1 } }),
    );
    expect(result).toMatchObject({ decisions: 2, same: 1, refused: 1 });
    expect(result.differences[0]).toMatchObject({ was: 'a', wouldBe: null, smallestChange: expect.any(String) });
    await sim.stop();
  });

  it('servers had been spread instead of packed: they move, and their releases with them', async () => {
    const { sim, scheduler, from, replies, ids } = await cloud([4, 8], [1, 1]);
    expect(new Set(replies.map((r) => (r.kind === 'claimed' ? r.hostName : null)))).toEqual(new Set(['h0']));
    const [gone] = replies;
    if (gone?.kind !== 'claimed') throw new Error('not placed');
    await sim.serverEvent(ids[0]!, 'ServerGuestAbsent', { host: gone.hostId, attempt: 1 });
    await sim.settle();
    for (const _ of [1, 2]) await scheduler.reserve.reserve(await server(sim, 4));
    const spread = changes({ settings: { cpuWeightMultiplier: 1 } });
    const result = await whatIf(sim.store, plainSettings, from, await head(sim), spread);
    expect(result).toMatchObject({ decisions: 4, refused: 0, placed: 0 });
    expect(result.differences.slice(0, 2)).toMatchObject([
      { was: 'h0', wouldBe: 'h1' },
      { was: 'h0', wouldBe: 'h1' },
    ]);
    await sim.stop();
  });

  it('is not asked with a host that was not there, or a setting that is none', async () => {
    const { sim, from } = await cloud([2], [1]);
    const ask = whatIf(sim.store, plainSettings, from, await head(sim), changes({ hosts: [{ like: 'x', count: 1 }] }));
    await expect(ask).rejects.toThrow('there was no host x');
    expect(Changes.safeParse({ settings: { colour: 1 } }).success).toBe(false);
    await sim.stop();
  });
});
