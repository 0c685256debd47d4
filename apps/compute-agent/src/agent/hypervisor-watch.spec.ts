import { seconds } from '@omnivisor/contracts';
import { VirtualClock } from '@omnivisor/platform/testing';
import { expect, it } from 'vitest';
import { FakeDriver, FakeHypervisor } from '../drivers/fake/index.js';
import { hostFacts } from '../host/host-facts.js';
import { HypervisorWatch } from './hypervisor-watch.js';
import type { Session } from './session.js';

const watched = async () => {
  const clock = new VirtualClock();
  const driver = new FakeDriver(new FakeHypervisor({ clock }), { cloudId: 'c' });
  const report = await driver.probe(AbortSignal.abort());
  const machine = { node: 'h', hostIp: '', machineId: 'm', bootId: 'b' };
  const facts = await hostFacts(driver, report, [{ backend: 'fake', ...report }], machine);
  const told: string[] = [];
  const errors: unknown[] = [];
  const session = {
    signal: new AbortController().signal,
    ask: async (_: unknown, { probes: [probe] }: { probes: { health: string; reason: string }[] }) =>
      told.push(`${probe!.health}: ${probe!.reason}`),
  } as unknown as Session;
  const onError = (_: string, error: unknown) => errors.push(error);
  const watch = new HypervisorWatch({ driver, clock, onError, facts: async () => facts }, session, facts);
  return { clock, driver, watch, told, errors };
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
