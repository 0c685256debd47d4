import { type HostFacts, seconds } from '@omnivisor/contracts';
import { VirtualClock } from '@omnivisor/platform/testing';
import { describe, expect, it } from 'vitest';
import { FakeDriver, FakeHypervisor } from '../drivers/fake/index.js';
import { type HypervisorDriver, HypervisorError } from '../drivers/hypervisor-driver.js';
import { Pools } from '../drivers/xenserver/testing/pools.js';
import { hostFacts } from '../host/host-facts.js';
import { HypervisorWatch } from './hypervisor-watch.js';
import type { Session } from './session.js';

interface Said {
  readonly probes: readonly { readonly health: string; readonly reason: string }[];
  readonly facts?: HostFacts;
}

const watched = async (
  clock = new VirtualClock(),
  driver: HypervisorDriver = new FakeDriver(new FakeHypervisor({ clock }), { cloudId: 'c' }),
) => {
  const first = await driver.probe(new AbortController().signal);
  const machine = { node: 'h', hostIp: '', machineId: 'm', bootId: 'b' };
  const factsOf = (report = first) => hostFacts(driver, report, [{ backend: driver.backend, ...report }], machine);
  const said: Said[] = [];
  const told: string[] = [];
  const errors: unknown[] = [];
  const session = {
    signal: new AbortController().signal,
    ask: async (_: unknown, probed: Said) => {
      said.push(probed);
      told.push(`${probed.probes[0]!.health}: ${probed.probes[0]!.reason}`);
    },
  } as unknown as Session;
  const onError = (_: string, error: unknown) => errors.push(error);
  let answered = 0;
  const facts = async (report = first) => {
    const now = await factsOf(report);
    answered += 1;
    return now;
  };
  const ports = { driver, clock, onError, facts, random: () => 0.5, surveyEvery: seconds(60) };
  const watch = new HypervisorWatch(ports, session, await factsOf());
  /** Looks when it is time to ask for what the host has; whatever that leads to has happened then. */
  const lookAnew = async () => {
    await clock.advance(seconds(60));
    await watch.look();
    await clock.advance(seconds(0));
  };
  return { clock, driver, first, watch, lookAnew, said, told, errors, answered: () => answered };
};

it('one answer that was no good is asked for again before a hypervisor is called dead', async () => {
  const { driver, watch, told, errors } = await watched();
  let bad = 1;
  driver.check = async () => {
    if (bad-- > 0) throw new Error('cut off');
  };
  await watch.look();
  expect(told).toEqual([]);
  expect(errors.splice(0)).toEqual([new Error('cut off')]);
  bad = 2;
  await watch.look();
  await watch.look();
  expect(told[0]).toBe('unhealthy: cut off');
  expect(errors).toEqual([new Error('cut off'), new Error('cut off')]);
});

it('a hypervisor that does not answer in time is asked once', async () => {
  const { clock, driver, watch, told } = await watched();
  let asked = 0;
  driver.check = () => {
    asked += 1;
    return new Promise(() => {});
  };
  const looked = watch.look();
  await clock.advance(seconds(4));
  await looked;
  expect(told).toEqual(['unhealthy: the hypervisor does not answer in time']);
  expect(asked).toBe(1);
});

describe('what a host has', () => {
  it('is asked for anew after a while, and told when it has changed', async () => {
    const { driver, watch, lookAnew, said, errors } = await watched();
    const had = await driver.inventory();
    await lookAnew();
    expect(said).toEqual([]);
    driver.inventory = async () => ({ ...had, diskGib: had.diskGib + 1_000 });
    await watch.look();
    expect(said).toEqual([]);
    await lookAnew();
    await lookAnew();
    expect(said).toMatchObject([{ probes: [{ health: 'healthy' }], facts: { diskGib: had.diskGib + 1_000 } }]);
    driver.inventory = async () => ({ ...had, memoryMib: 1 });
    await lookAnew();
    expect(said[1]).toMatchObject({ facts: { memoryMib: 1, diskGib: had.diskGib } });
    expect(errors).toEqual([]);
  });

  it('is what the hypervisor is by now, where it tells that without a guest', async () => {
    const { driver, first, lookAnew, said } = await watched();
    driver.survey = async () => ({ ...first, traits: [...first.traits, 'CUSTOM_NEW'] });
    await lookAnew();
    await lookAnew();
    expect(said).toHaveLength(1);
    expect(said[0]!.facts!.traits).toContain('CUSTOM_NEW');
  });

  it('waits for an answer while the hypervisor is away for a moment; who is refused it takes no servers until it is given again', async () => {
    const { clock, driver, watch, lookAnew, said, told, errors } = await watched();
    const { inventory } = driver;
    driver.inventory = async () => {
      throw new HypervisorError('unavailable', 'no answer');
    };
    await lookAnew();
    expect([told, errors.length]).toEqual([[], 1]);
    driver.inventory = async () => {
      throw new HypervisorError('unsupported', 'counting what the host has was refused');
    };
    await lookAnew();
    expect(told).toEqual(['unhealthy: counting what the host has was refused']);
    await watch.look();
    expect(told).toHaveLength(1);
    driver.inventory = inventory.bind(driver);
    await clock.advance(seconds(30));
    await watch.look();
    expect(told[1]).toMatch(/^healthy/);
    expect(said[1]!.facts).toMatchObject(await driver.inventory());
  });

  it('does not keep looks waiting when it is slow in coming', async () => {
    const { driver, lookAnew, watch, told } = await watched();
    driver.inventory = () => new Promise(() => {});
    await lookAnew();
    driver.check = async () => {
      throw new Error('dead');
    };
    await watch.look();
    expect(told).toEqual(['unhealthy: dead']);
  });

  it('is given up when no answer comes, and asked for again', async () => {
    const { clock, driver, lookAnew, said, told, errors } = await watched();
    const had = await driver.inventory();
    driver.inventory = () => new Promise(() => {});
    await lookAnew();
    await clock.advance(seconds(120));
    expect([told, errors.splice(0)]).toEqual([
      [],
      [new HypervisorError('unavailable', 'the hypervisor does not answer in time')],
    ]);
    driver.inventory = async () => ({ ...had, diskGib: had.diskGib + 1 });
    await lookAnew();
    expect(said).toMatchObject([{ facts: { diskGib: had.diskGib + 1 } }]);
  });
});

describe('a pool of XenServer', () => {
  const pools = new Pools();

  it('grows under its agent: members, and room for disks', async () => {
    const { clock, driver, watch, said, errors, answered } = await watched(
      new VirtualClock(),
      pools.drive({ member: null }),
    );
    const { db } = pools.first.double;
    const before = await driver.inventory();
    await clock.advance(seconds(60));
    await watch.look();
    await expect.poll(answered).toBe(1);
    expect(said).toEqual([]);
    const [storage] = db.all('SR').find(([, { shared }]) => shared)!;
    db.set('SR', storage, { physical_size: db.get('SR', storage).physical_size + 2 ** 40 });
    const { uuid: _, ...like } = db.get('host', pools.first.double.host(1));
    const joined = db.create('host', { ...like, name_label: 'xs3', address: '127.0.0.3' });
    await clock.advance(seconds(60));
    await watch.look();
    await expect.poll(() => said).toHaveLength(1);
    const { vcpus, memoryMib, diskGib } = before;
    expect(said[0]).toMatchObject({
      probes: [{ health: 'healthy' }],
      facts: { vcpus: vcpus * 1.5, memoryMib: memoryMib * 1.5, diskGib: diskGib + 1_024 },
    });
    expect(errors).toEqual([]);
    db.destroy('host', joined);
  });
});
