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
const under = (driver: Pick<AgentPorts['driver'], 'maintenance' | 'backend'>) => {
  const clock = new VirtualClock();
  const ports = { driver: driver as AgentPorts['driver'], onError: (where: string) => void errors.push(where) };
  return new HostMaintenance(ports, new Session({ bus, clock, hostId: 'h' }, 1));
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
});
