import { hostBus, seconds, unavailable } from '@omnivisor/contracts';
import { MemoryBus, VirtualClock } from '@omnivisor/platform/testing';
import { beforeEach, describe, expect, it } from 'vitest';
import { HypervisorError, type Maintenance } from '../drivers/hypervisor-driver.js';
import { Pools } from '../drivers/xenserver/testing/pools.js';
import { AgentWorld } from './agent.fixtures.js';
import { HostMaintenance } from './host-maintenance.js';
import type { AgentPorts } from './ports.js';
import { Session } from './session.js';

let bus: MemoryBus;
let told: { generation: number; error: string | null }[];
let errors: string[];
let isDeaf: boolean;
beforeEach(async () => {
  bus = new MemoryBus(new VirtualClock());
  [told, errors, isDeaf] = [[], [], false];
  await bus.respond(hostBus.confirm, async () => ({ confirmed: [] }));
  await bus.respond(hostBus.maintained, async ({ generation, error }) => {
    if (isDeaf) throw unavailable('no scheduler');
    told.push({ generation, error });
    return {};
  });
});
const newSession = () => new Session({ bus, clock: new VirtualClock(), hostId: 'h' }, 1);
const under = (driver: Pick<AgentPorts['driver'], 'maintenance' | 'backend'>, session = newSession()) => {
  const ports = { driver: driver as AgentPorts['driver'], onError: (where: string) => void errors.push(where) };
  return new HostMaintenance(ports, session);
};
/** Each emptying ends when the spec says so, whatever was given up. */
const stubborn = () => {
  const happened: string[] = [];
  const entering: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];
  const maintenance: Maintenance = {
    enter: (signal) =>
      new Promise<void>((resolve, reject) => {
        const n = entering.push({ resolve, reject });
        happened.push(`enters ${n}`);
        signal.addEventListener('abort', () => void happened.push(`given up ${n}`));
      }).finally(() => happened.push(`ended ${entering.length}`)),
    leave: async () => void happened.push('left'),
  };
  return { happened, entering, driver: { backend: 'fake', maintenance } as const };
};

describe('maintenance that is asked for', () => {
  it('is begun once, however often it is asked for, and told when it is done', async () => {
    const done: string[] = [];
    const entering: (() => void)[] = [];
    const host = under({
      backend: 'fake',
      maintenance: {
        enter: async () => {
          await new Promise<void>((resolve) => entering.push(resolve));
          done.push('entered');
        },
        leave: async () => void done.push('left'),
      },
    });
    for (let n = 0; n < 3; n++) host.wants({ generation: 1, on: true });
    await expect.poll(() => entering).toHaveLength(1);
    host.wants({ generation: 1, on: true });
    expect(told).toEqual([]);
    entering[0]!();
    await expect.poll(() => told).toEqual([{ generation: 1, error: null }]);
    host.wants({ generation: 2, on: false });
    await expect.poll(() => told.length).toBe(2);
    expect([done, told[1], errors]).toEqual([['entered', 'left'], { generation: 2, error: null }, []]);
  });

  it('is begun again when nobody heard how it ended', async () => {
    let entered = 0;
    const maintenance: Maintenance = { enter: async () => void entered++, leave: async () => {} };
    const host = under({ backend: 'fake', maintenance });
    isDeaf = true;
    host.wants({ generation: 1, on: true });
    await expect.poll(() => errors).toEqual(['maintenance of the host']);
    isDeaf = false;
    host.wants({ generation: 1, on: true });
    await expect.poll(() => told).toEqual([{ generation: 1, error: null }]);
    expect(entered).toBe(2);
  });

  it('is given up when the host is to take guests again', async () => {
    const happened: string[] = [];
    const maintenance: Maintenance = {
      enter: (signal) =>
        new Promise((_, reject) =>
          signal.addEventListener('abort', () => {
            happened.push('given up');
            reject(new HypervisorError('fault', 'aborted'));
          }),
        ),
      leave: async () => void happened.push('left'),
    };
    const host = under({ backend: 'fake', maintenance });
    host.wants({ generation: 1, on: true });
    await new Promise((resolve) => setImmediate(resolve));
    host.wants({ generation: 2, on: false });
    await expect.poll(() => told).toEqual([{ generation: 2, error: null }]);
    expect([happened, errors]).toEqual([['given up', 'left'], []]);
  });

  it('has ended, however late, before the host is taken back', async () => {
    for (const how of ['resolve', 'reject'] as const) {
      const { happened, entering, driver } = stubborn();
      const host = under(driver);
      host.wants({ generation: 1, on: true });
      await expect.poll(() => happened).toEqual(['enters 1']);
      host.wants({ generation: 2, on: false });
      await new Promise((resolve) => setImmediate(resolve));
      expect([happened, told]).toEqual([['enters 1', 'given up 1'], []]);
      entering[0]![how](new HypervisorError('unavailable', 'a task does not end in time'));
      await expect.poll(() => told).toEqual([{ generation: 2, error: null }]);
      expect([happened.slice(2), errors]).toEqual([['ended 1', 'left'], []]);
      told = [];
    }
  });

  it('has ended before it begins anew, and what was asked for in between is not done', async () => {
    const { happened, entering, driver } = stubborn();
    const host = under(driver);
    host.wants({ generation: 1, on: true });
    await expect.poll(() => happened).toEqual(['enters 1']);
    host.wants({ generation: 2, on: false });
    host.wants({ generation: 3, on: true });
    entering[0]!.reject(new HypervisorError('fault', 'cancelled'));
    await expect.poll(() => entering).toHaveLength(2);
    entering[1]!.resolve();
    await expect.poll(() => told).toEqual([{ generation: 3, error: null }]);
    expect([happened, errors]).toEqual([['enters 1', 'given up 1', 'ended 1', 'enters 2', 'ended 2'], []]);
  });

  it('is given up with its session, and what comes then is for the next one', async () => {
    const { happened, entering, driver } = stubborn();
    const session = newSession();
    const host = under(driver, session);
    host.wants({ generation: 1, on: true });
    await expect.poll(() => happened).toEqual(['enters 1']);
    session.end();
    host.wants({ generation: 2, on: false });
    entering[0]!.reject(new HypervisorError('unavailable', 'closed'));
    await expect.poll(() => happened.at(-1)).toBe('ended 1');
    await new Promise((resolve) => setImmediate(resolve));
    expect([happened, told, errors]).toEqual([['enters 1', 'given up 1', 'ended 1'], [], []]);
  });

  it('that fails has the host take guests again, or says that this is not known', async () => {
    const away = new HypervisorError('unavailable', 'the vCenter does not answer');
    const left: number[] = [];
    const enter = () => Promise.reject(new HypervisorError('fault', 'a task was forgotten'));
    const leaving = [async () => void left.push(1), () => Promise.reject(away)];
    for (const leave of leaving)
      under({ backend: 'fake', maintenance: { enter, leave } }).wants({ generation: 1, on: true });
    await expect
      .poll(() => told.map(({ error }) => error))
      .toEqual([
        'a task was forgotten',
        'a task was forgotten; whether it takes guests again is not known: the vCenter does not answer',
      ]);
    expect(left).toEqual([1]);
  });

  it('that fails, or that no such hypervisor does, is told with its words', async () => {
    const refused = new HypervisorError('noResources', 'emptying the host was refused', 'NO_HOSTS_AVAILABLE()');
    const fails: Maintenance = { enter: () => Promise.reject(refused), leave: async () => {} };
    under({ backend: 'fake', maintenance: fails }).wants({ generation: 1, on: true });
    under({ backend: 'fake' }).wants({ generation: 1, on: true });
    await expect
      .poll(() => told.map(({ error }) => error).sort())
      .toEqual(['emptying the host was refused: NO_HOSTS_AVAILABLE()', 'fake has no maintenance']);
  });

  it('reaches the agent by the answer to a beat', async () => {
    const world = await AgentWorld.open();
    world.desk.maintenance = { generation: 4, on: true };
    const agent = world.agent();
    await agent.start();
    await world.clock.runUntil(() => world.desk.maintained.length > 0, seconds(30));
    expect(world.desk.maintained).toEqual([{ generation: 4, error: 'fake has no maintenance' }]);
    await agent.stop();
  });
});

describe('a member of a pool of XenServer', () => {
  const pools = new Pools();

  it('is emptied; its guests go on elsewhere and are still its servers; and it is taken back', async () => {
    const driver = pools.drive();
    const spec = await pools.running(driver);
    const host = under(driver);
    host.wants({ generation: 1, on: true });
    await expect.poll(() => told, { timeout: 5_000 }).toEqual([{ generation: 1, error: null }]);
    expect(pools.first.double.db.get('host', pools.recordOf(spec.id).resident_on).name_label).toBe('xs2');
    await expect(driver.check()).rejects.toThrow('the member is in maintenance mode');
    expect(await driver.inspect(spec.id)).toMatchObject({ power: 'running', stage: 'settled', mark: spec.mark });
    host.wants({ generation: 2, on: false });
    await expect.poll(() => told.at(-1)).toEqual({ generation: 2, error: null });
    await driver.check();
    await driver.destroy(spec.id);
  });

  it('takes guests again when it cannot be emptied', async () => {
    const driver = pools.drive();
    const { id } = await pools.running(driver);
    const { double } = pools.first;
    double.db.set('host', double.host(1), { enabled: false });
    under(driver).wants({ generation: 1, on: true });
    await expect.poll(() => told).toMatchObject([{ generation: 1, error: expect.stringContaining('NO_HOSTS') }]);
    expect(double.db.get('host', double.host(0)).enabled).toBe(true);
    double.db.set('host', double.host(1), { enabled: true });
    await driver.destroy(id);
  });
});
