import { type HostId, hostBus, at as subjectAt } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { facts, Simulation } from '../../testing/simulation.js';

let sim: Simulation;
beforeEach(() => {
  sim = new Simulation();
});
afterEach(async () => {
  await sim.stop();
  expect(sim.errors).toEqual([]);
});

const downs = async (hosts: readonly HostId[]) => {
  const all = await Promise.all(hosts.map((h) => sim.typesOf(`host-${h}`)));
  return all.filter((types) => types.includes('HostWentDown')).length;
};
const fleet = async (n: number) => {
  const s = await sim.scheduler();
  const hosts: HostId[] = [];
  for (let i = 0; i < n; i++) hosts.push(await sim.host(s, `h${i}`));
  return { s, hosts };
};
/** Lets time pass while some hosts beat. */
const pass = async (seconds: number, beating: readonly HostId[]) => {
  for (let t = 0; t < seconds; t += 10) {
    await sim.clock.advance(10_000 as never);
    await Promise.all(beating.map((h) => sim.beat(h)));
  }
};

describe('a host that falls silent', () => {
  it('is down after three missed beats, not before, and up at its next one', async () => {
    const { s, hosts } = await fleet(1);
    await pass(20, []);
    expect(await downs(hosts)).toBe(0);
    await pass(20, []);
    expect(await downs(hosts)).toBe(1);
    expect(s.core.world.hosts.get(hosts[0]!)?.up).toBe(false);
    await sim.beat(hosts[0]!);
    await s.core.fresh();
    expect(s.core.world.hosts.get(hosts[0]!)?.up).toBe(true);
  });

  it('is not judged when more than 30 % are missing at once', async () => {
    const { s, hosts } = await fleet(10);
    await pass(60, hosts.slice(0, 6));
    expect(await downs(hosts)).toBe(0);
    expect(s.watch.suspicious).toBe(4);
    await pass(60, hosts.slice(0, 7));
    expect(await downs(hosts)).toBe(3);
  });

  it('is not judged for beats that the scheduler could not hear', async () => {
    const { hosts } = await fleet(1);
    sim.bus.setConnected(false);
    await sim.clock.advance(120_000 as never);
    sim.bus.setConnected(true);
    await sim.clock.advance(20_000 as never);
    expect(await downs(hosts)).toBe(0);
    await sim.clock.advance(20_000 as never);
    expect(await downs(hosts)).toBe(1);
  });

  it('is not judged by a scheduler that has just started', async () => {
    const { s, hosts } = await fleet(1);
    await s.stop();
    await sim.clock.advance(300_000 as never);
    await sim.scheduler();
    await sim.clock.advance(20_000 as never);
    expect(await downs(hosts)).toBe(0);
    await sim.clock.advance(20_000 as never);
    expect(await downs(hosts)).toBe(1);
  });
});

describe('sessions of a host', () => {
  it('end when a newer one starts', async () => {
    const { hosts } = await fleet(1);
    const [host] = hosts as [HostId];
    const again = await sim.bus.request(hostBus.hello, { facts: facts('h0') }, subjectAt(hostBus.hello, host));
    expect(again).toMatchObject({ session: 2, cloudId: 'cloud', hostName: 'h0' });
    await sim.beat(host, 2);
    const ended = { name: 'HostSessionEnded', details: { superseded: true } };
    await expect(sim.beat(host, 1)).rejects.toMatchObject(ended);
    await expect(sim.beat(host, 3)).rejects.toMatchObject({ name: 'HostSessionEnded', details: { superseded: false } });
    const quarantine = { session: 1, guests: [] };
    await expect(
      sim.bus.request(hostBus.quarantine, quarantine, subjectAt(hostBus.quarantine, host)),
    ).rejects.toMatchObject(ended);
  });

  it('start once for a hello that comes twice, also when a newer one has taken over since', async () => {
    const { hosts } = await fleet(1);
    const [host] = hosts as [HostId];
    const hello = (call: string) =>
      sim.bus.request(hostBus.hello, { facts: facts('h0'), call }, subjectAt(hostBus.hello, host));
    const both = await Promise.all([hello('a'), hello('a')]);
    expect(both.map((r) => r.session)).toEqual([2, 2]);
    expect(await hello('b')).toMatchObject({ session: 3 });
    expect(await hello('a')).toMatchObject({ session: 2 });
    await sim.beat(host, 3);
  });

  it('are refused to who is not enrolled', async () => {
    await fleet(1);
    const stranger = sim.ids.uuid();
    await expect(
      sim.bus.request(hostBus.hello, { facts: facts('x') }, subjectAt(hostBus.hello, stranger)),
    ).rejects.toMatchObject({ kind: 'notFound' });
  });

  it('change inventory and traits only when the facts changed', async () => {
    const { hosts } = await fleet(1);
    const [host] = hosts as [HostId];
    const before = await sim.typesOf(`provider-${host}`);
    await sim.bus.request(hostBus.hello, { facts: facts('h0') }, subjectAt(hostBus.hello, host));
    expect(await sim.typesOf(`provider-${host}`)).toEqual(before);
    await sim.bus.request(hostBus.hello, { facts: facts('h0', { vcpus: 99 }) }, subjectAt(hostBus.hello, host));
    expect((await sim.typesOf(`provider-${host}`)).at(-1)).toBe('ProviderInventorySet');
  });
});

describe('two schedulers', () => {
  it('answer one at a time, and the second takes over', async () => {
    const { s, hosts } = await fleet(1);
    const standby = await sim.scheduler();
    expect([s.core.active, standby.core.active]).toEqual([true, false]);
    await s.stop();
    await sim.settle();
    expect(standby.core.active).toBe(true);
    await sim.beat(hosts[0]!);
  });
});
