import type { ServerId } from '@omnivisor/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { plainSettings, Simulation } from '../testing/simulation.js';
import { isDecided } from './past.js';
import { recompute } from './recompute.js';

/** A server whose log says what `sim.request` asks. */
const server = async (sim: Simulation, vcpus: number, memory: number) => {
  const serverId = sim.ids.uuid() as ServerId;
  const request = sim.request(serverId, { vcpus, memory });
  const { context: _, attempt: __, excludeHosts, networkHosts, position, ...asked } = request;
  await sim.serverEvent(serverId, 'ServerCreateRequested', { ...asked, networks: 'none' });
  return { ...request, position: await sim.store.head() };
};
const decisions = async (sim: Simulation) =>
  (await sim.store.readAll(0, 100_000)).filter(isDecided).map((event) => event.position);

const size = fc.record({ vcpus: fc.integer({ min: 1, max: 3 }), memory: fc.constantFrom(512, 1_024, 4_096) });
const round = fc.record({
  together: fc.array(size, { minLength: 1, maxLength: 6 }),
  leaves: fc.nat(3),
});

describe('a decision of the past', () => {
  it('is the same when it is decided again, also among others on their way', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 2, max: 6 }), { minLength: 1, maxLength: 5 }),
        fc.array(round, { maxLength: 5 }),
        async (hosts, rounds) => {
          const sim = new Simulation();
          const scheduler = await sim.scheduler();
          for (const [i, vcpus] of hosts.entries()) await sim.host(scheduler, `h${i}`, { vcpus });
          const placed: { serverId: ServerId; host: string }[] = [];
          for (const { together, leaves } of rounds) {
            const requests = await Promise.all(together.map((s) => server(sim, s.vcpus, s.memory)));
            const replies = await Promise.all(requests.map((r) => scheduler.reserve.reserve(r)));
            for (const [i, reply] of replies.entries())
              if (reply.kind === 'claimed') placed.push({ serverId: requests[i]!.serverId, host: reply.hostId });
            for (const { serverId, host } of placed.splice(0, leaves))
              await sim.serverEvent(serverId, 'ServerGuestAbsent', { host, attempt: 1 });
            await sim.settle();
          }
          const positions = await decisions(sim);
          for (const result of await recompute(sim.store, plainSettings, positions))
            expect(result).toMatchObject({ equal: true, note: null });
          expect(sim.errors).toEqual([]);
          await sim.stop();
        },
      ),
      { numRuns: 40 },
    );
  });

  it('is found to be another when the log was not what it is', async () => {
    const sim = new Simulation();
    const scheduler = await sim.scheduler();
    await sim.host(scheduler, 'small', { vcpus: 2 });
    await sim.host(scheduler, 'large', { vcpus: 8 });
    await scheduler.reserve.reserve(await server(sim, 2, 512));
    const [position] = await decisions(sim);
    const event = (await sim.store.readAll(position! - 1, 1))[0]!;
    const forged = structuredClone(event.data) as { explanation: { sample: { host: string; verdict: string }[] } };
    for (const line of forged.explanation.sample) line.verdict = line.host === 'large' ? 'chosen' : 'fits';
    const log = {
      readAll: async (after: number, limit: number) =>
        (await sim.store.readAll(after, limit)).map((e) => (e.position === position ? { ...e, data: forged } : e)),
    };
    expect(await recompute(log, plainSettings, [position!])).toMatchObject([
      { equal: false, again: { host: 'small' }, recorded: { host: 'small' } },
    ]);
    await sim.stop();
  });

  it('is not judged by other settings than it was decided with', async () => {
    const sim = new Simulation();
    const scheduler = await sim.scheduler();
    await sim.host(scheduler, 'a');
    await scheduler.reserve.reserve(await server(sim, 1, 512));
    const [result] = await recompute(sim.store, { ...plainSettings, version: 2 }, await decisions(sim));
    expect(result).toMatchObject({ equal: null, note: expect.stringMatching(/version 1 of the settings/) });
    await sim.stop();
  });

  it('is asked for by the position of a decision only', async () => {
    const sim = new Simulation();
    await sim.host(await sim.scheduler(), 'a');
    await expect(recompute(sim.store, plainSettings, [1])).rejects.toThrow('no placement decision at position 1');
    await sim.stop();
  });
});
