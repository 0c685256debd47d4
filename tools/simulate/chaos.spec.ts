import { type ServerId, seconds } from '@omnivisor/contracts';
import { describe, expect, it, vi } from 'vitest';
import type { ServerRow } from '../../apps/api-gateway/src/compute/server/server.projection.js';
import type { FakeOperation } from '../../apps/compute-agent/src/drivers/fake/fake-hypervisor.js';
import { SimulatedCloud, type SimulatedHost } from './cloud.js';

/** A small generator of numbers in [0, 1), the same for the same seed. */
const randomOf = (seed: number) => {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
};

/** What was done on hosts, and when, as the machines saw it. */
class Witness {
  readonly made: { readonly id: ServerId; readonly attempt: number; readonly at: string }[] = [];
  readonly removed: { readonly id: ServerId; readonly at: string }[] = [];
  private accident = false;

  constructor(cloud: SimulatedCloud) {
    for (const { machine } of cloud.hosts) {
      const [complete, remove] = [machine.complete.bind(machine), machine.remove.bind(machine)];
      vi.spyOn(machine, 'complete').mockImplementation((spec) => {
        this.made.push({ id: spec.mark.serverId, attempt: spec.mark.attempt, at: cloud.clock.now() });
        complete(spec);
      });
      vi.spyOn(machine, 'remove').mockImplementation((id) => {
        if (!this.accident) this.removed.push({ id, at: cloud.clock.now() });
        remove(id);
      });
    }
  }

  /** Somebody removes a guest behind our back. */
  vanish({ machine }: SimulatedHost, id: ServerId): void {
    this.accident = true;
    machine.vanish(id);
    this.accident = false;
  }
}

const OPERATIONS = ['stop', 'start', 'pause', 'unpause', 'softReboot', 'hardReboot'] as const;
const FAULTS: readonly FakeOperation[] = ['list', 'spawn', 'destroy', 'powerOn', 'powerOff', 'reboot', 'pause'];

const SEEDS = Array.from({ length: 20 }, (_, i) => i + 1);

describe.each(SEEDS)('with accidents of all kinds, seed %i', (seed) => {
  it('nothing gets stuck, and nothing is destroyed by mistake', async () => {
    const random = randomOf(seed);
    const pick = <T>(all: readonly T[]): T => all[Math.floor(random() * all.length)]!;
    const cloud = await SimulatedCloud.start({ seed });
    const witness = new Witness(cloud);
    const ids: ServerId[] = [];
    const host = (): SimulatedHost => pick(cloud.hosts);
    const tried = (work: Promise<unknown>) => work.catch(() => undefined);

    const accidents: readonly (() => unknown)[] = [
      async () => ids.push(await cloud.create()),
      async () => ids.push(await cloud.create()),
      () => ids.length > 0 && tried(cloud.delete(pick(ids))),
      () =>
        ids.length > 0 &&
        tried(cloud.send({ type: 'power', serverId: pick(ids), operation: pick(OPERATIONS), asAdmin: true })),
      () => host().machine.failNext(pick(FAULTS)),
      () => host().machine.slow(pick(FAULTS), seconds(Math.floor(random() * 20))),
      () => ids.length > 0 && host().machine.shutDownFromInside(pick(ids)),
      () => {
        const all = host().machine.all();
        if (all.length > 0) host().machine.crash(pick(all).mark.serverId);
      },
      () => {
        const one = host();
        const all = one.machine.all();
        if (all.length > 0 && random() < 0.3) witness.vanish(one, pick(all).mark.serverId);
      },
      async () => {
        const one = host();
        await cloud.stopAgent(one);
        await cloud.startAgent(one);
      },
      // When it finds nothing to drive, or nobody, the older one goes on.
      () => tried(cloud.replaceAgent(host())),
      async () => {
        await cloud.passing(cloud.gateways.shift()!.stop());
        await cloud.addGateway();
      },
      async () => {
        await cloud.passing(cloud.schedulers.shift()!.stop());
        await cloud.addScheduler();
      },
      () => {
        cloud.bus.loses = () => random() < 0.5;
      },
      async () => {
        cloud.bus.setConnected(false);
        await cloud.clock.advance(seconds(Math.floor(random() * 20)));
        cloud.bus.setConnected(true);
      },
      async () => {
        const one = host();
        one.machine.unreachable = true;
        await cloud.clock.advance(seconds(Math.floor(random() * 10)));
        one.machine.unreachable = false;
      },
    ];
    for (let i = 0; i < 60; i++) {
      await pick(accidents)();
      await cloud.clock.advance(seconds(Math.floor(random() * 4)));
    }

    cloud.bus.loses = () => false;
    for (const { machine } of cloud.hosts)
      for (const fault of FAULTS) {
        machine.slow(fault, seconds(0));
        machine.clearFaults();
      }
    const rows = () => Promise.all(ids.map((id) => cloud.server(id)));
    const isSettled = (server: ServerRow): boolean => {
      const [guest] = cloud.guests(server.id);
      if (server.vmState === 'deleted') return server.released && !server.onHost;
      return server.taskState === null && (server.vmState !== 'active' || guest?.power === 'running');
    };
    const atRest = async () => (await rows()).every(isSettled);
    await cloud.clock.runUntil(atRest, seconds(900));

    for (const server of await rows()) {
      const guests = cloud.guests(server.id);
      if (server.vmState === 'deleted') expect(guests).toEqual([]);
      if (server.vmState === 'error') expect(server.fault?.message).toBeTruthy();
      expect(guests.length).toBeLessThanOrEqual(1);
    }
    const log = await cloud.store.readAll(0, 1_000_000);
    for (const { id, attempt, at } of witness.made) {
      const spawned = log.find(
        (e) =>
          e.stream === `server-${id}` &&
          e.type === 'ServerSpawned' &&
          (e.data as { attempt: number }).attempt === attempt,
      );
      expect(spawned === undefined || spawned.recordedAt >= at, `${id} was made again`).toBe(true);
    }
    for (const { id, at } of witness.removed) {
      const asked = log.find((e) => e.stream === `server-${id}` && e.type === 'ServerDeleteRequested');
      expect(asked !== undefined && asked.recordedAt <= at, `${id} was destroyed`).toBe(true);
    }
    const claimed = (await rows()).filter((s) => s.onHost !== null).length;
    await cloud.clock.runUntil(async () => (await cloud.claims()) === claimed, seconds(300));
    await cloud.stop();
  }, 60_000);
});
