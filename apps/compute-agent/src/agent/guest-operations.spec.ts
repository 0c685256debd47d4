import { seconds } from '@omnivisor/contracts';
import { VirtualClock } from '@omnivisor/platform/testing';
import { describe, expect, it } from 'vitest';
import { testGuest } from '../drivers/common/test-guest.js';
import { FakeDriver, FakeHypervisor } from '../drivers/fake/index.js';
import { HypervisorError, type LiveMigration } from '../drivers/hypervisor-driver.js';
import { cloudId, id } from './agent.fixtures.js';
import { GuestOperations } from './guest-operations.js';
import { Leave } from './leave.js';
import type { AgentPorts } from './ports.js';
import type { DesiredServer } from './reconcile.js';
import { Semaphore } from './semaphore.js';

const never = new AbortController().signal;

/** A hypervisor that moves guests by itself: what it does may be over before, or after, it answers. */
const moving = async (
  change: (real: LiveMigration, operations: GuestOperations) => Partial<LiveMigration>,
  operation: object = {},
) => {
  const clock = new VirtualClock();
  const [here, there] = [new FakeHypervisor({ clock }), new FakeHypervisor({ clock })];
  const [source, target] = [new FakeDriver(here, { cloudId }), new FakeDriver(there, { cloudId })];
  const spec = testGuest(id(1), cloudId);
  await source.spawn(spec, never);
  const receive = (offer: string) =>
    target.liveMigration!.receive(
      { ...spec, mark: { ...spec.mark, attempt: 2 } },
      offer,
      { disks: 'auto', attached: [] },
      never,
    );
  const driver = Object.create(source);
  const errors: unknown[] = [];
  const ports = { driver, onError: (_: string, error: unknown) => errors.push(error) } as unknown as AgentPorts;
  const unplugged = { unplug: async () => undefined } as never;
  const operations = new GuestOperations(ports, unplugged, new Semaphore(1), seconds(1));
  driver.liveMigration = { ...source.liveMigration!, ...change(source.liveMigration!, operations) };
  const wanted = { generation: 1, kind: 'liveMigrate', done: false, ...operation };
  const result = operations.operate({
    desired: { serverId: id(1), portIds: [], operation: wanted } as unknown as DesiredServer,
    operation: wanted as never,
    boot: async () => null,
    upload: async () => null,
    ticket: async (offer) => ({ ticket: await receive(offer) }),
    leave: new Leave(async () => undefined, clock, never),
  });
  return { result: await result, here, there, operations };
};

describe('a live migration that its hypervisor carries out', () => {
  it('is done when the guest has gone, whatever the call that sent it says', async () => {
    const { result, here } = await moving((real) => ({
      send: async (...args) => {
        await real.send(...args);
        throw new HypervisorError('fault', 'the task was cancelled');
      },
    }));
    expect(result).toEqual({ ok: true, power: 'shutdown' });
    expect(here.guest(id(1))?.stage).toBe('moved');
  });

  it('is done when the guest went while an earlier agent was called to account, also when it was to be given up', async () => {
    const target = new FakeDriver(new FakeHypervisor({ clock: new VirtualClock() }), { cloudId });
    const goneMeanwhile = (real: LiveMigration): Partial<LiveMigration> => ({
      recover: async (server) => {
        const offer = await real.offer(server);
        const options = { disks: 'auto', attached: [] } as const;
        const ticket = await target.liveMigration!.receive(testGuest(server, cloudId), offer, options, never);
        await real.send(server, ticket, { signal: never });
        throw new HypervisorError('fault', 'the guest has moved to another host');
      },
    });
    const { result } = await moving(goneMeanwhile, { abort: true });
    expect(result).toMatchObject({ ok: true });
  });

  it('tells how far it is while it lasts', async () => {
    const progress = { memory: { total: 1024, remaining: 24 }, disk: { total: 0, remaining: 0 } };
    const told: unknown[] = [];
    const { operations } = await moving((real, running) => ({
      send: async (server, ticket, options) => {
        told.push(running.progressOf(server));
        options.onProgress?.(progress);
        told.push(running.progressOf(server));
        await real.send(server, ticket, options);
      },
    }));
    expect([...told, operations.progressOf(id(1))]).toEqual([null, progress, null]);
  });

  it('has failed when the guest is still here, and says what its hypervisor lacks', async () => {
    const refusing = (code: 'unsupported' | 'fault') => () => ({
      send: async () => {
        throw new HypervisorError(code, 'the other one has no such storage');
      },
    });
    const lack = await moving(refusing('unsupported'));
    expect(lack.result).toMatchObject({
      ok: false,
      failure: { reason: 'The hypervisor cannot do it: the other one has no such storage.', power: 'running' },
    });
    const fault = await moving(refusing('fault'));
    expect(fault.result).toMatchObject({ failure: { reason: 'The hypervisor could not do it.' } });
  });
});

it.each(['migrate', 'resize', 'liveMigrate'] as const)(
  '%s changes nothing when its leave ends while it looks at the guest',
  async (kind) => {
    const clock = new VirtualClock();
    const machine = new FakeHypervisor({ clock });
    const real = new FakeDriver(machine, { cloudId });
    await real.spawn(testGuest(id(1), cloudId), never);
    let isOver = false;
    const inspect = async () => {
      isOver = true;
      return FakeDriver.prototype.inspect.call(real, id(1));
    };
    const recover = async () => Promise.reject(new Error('recovered without leave'));
    const driver = Object.assign(Object.create(real), { inspect, liveMigration: { ...real.liveMigration!, recover } });
    const operations = new GuestOperations({ driver } as AgentPorts, {} as never, new Semaphore(1), seconds(1));
    const operation = { generation: 1, kind, done: false, flavor: { vcpus: 2, memory: 512 } };
    const ask = async () => {
      if (isOver) throw new Error('the session is over');
    };
    const work = { desired: { serverId: id(1), operation }, operation, leave: new Leave(ask, clock, never) };
    await expect(operations.operate(work as never)).rejects.toThrow('the session is over');
    expect(machine.guest(id(1))).toMatchObject({ power: 'running', stage: 'settled' });
  },
);
