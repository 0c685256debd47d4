import { DomainError, type ImageId, mib, type PortId, seconds, unavailable } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { testGuest } from '../drivers/common/test-guest.js';
import { HypervisorError } from '../drivers/hypervisor-driver.js';
import { noImageBytes } from '../images/image-cache.js';
import { AgentWorld, id } from './agent.fixtures.js';
import type { Agent } from './agent.js';

describe('an agent that is asked for an action', () => {
  let world: AgentWorld;
  let agent: Agent;
  beforeEach(async () => {
    world = await AgentWorld.open();
    agent = world.agent();
  });
  afterEach(() => agent.stop());

  const done = (generation: number) =>
    world.clock.runUntil(
      () => world.desk.facts.some((f) => f.kind === 'operationDone' && f.generation === generation),
      seconds(120),
    );

  it('suspends a guest and lets it go on, with its network devices made anew', async () => {
    await world.spawned(1, { operation: { generation: 1, kind: 'suspend', done: false }, power: 'suspended' });
    await agent.start();
    await done(1);
    expect(world.machine.guest(id(1))?.power).toBe('suspended');
    world.network.ports.clear();
    world.desk.want(1, { spawned: true, operation: { generation: 2, kind: 'resume', done: false } });
    await done(2);
    expect(world.machine.guest(id(1))?.power).toBe('running');
    expect([...world.network.ports.keys()]).toEqual([id(1)]);
  });

  it.each([
    ['is here', undefined, 1],
    ['cannot be made', new HypervisorError('fault', 'broken'), 1],
    ['is tried again', new HypervisorError('unavailable', 'no answer'), 0],
  ])('drops the disks of a server that moves here when it %s', async (_, error, times) => {
    const forget = vi.spyOn(noImageBytes, 'forget');
    agent = world.agent();
    const { image } = testGuest(id(1), 'cloud');
    const disk = { ...image, id: 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b02' as ImageId };
    world.desk.want(1, { arrival: { root: disk, ephemeral: null, powerOn: true } });
    if (error) world.machine.failNext('spawn', error);
    await agent.start();
    const isTried = () => world.desk.facts.length + world.errors.length > 0;
    await world.clock.runUntil(isTried, seconds(1));
    expect(forget.mock.calls).toEqual(Array(times).fill([disk]));
    await world.clock.runUntil(() => world.desk.facts.length > 0, seconds(30));
    expect(forget.mock.calls).toEqual([[disk]]);
    forget.mockRestore();
  });

  it('goes on with a suspend that another agent did not live to report', async () => {
    await world.spawned(1, { operation: { generation: 1, kind: 'suspend', done: false }, power: 'suspended' });
    world.machine.slow('suspend', seconds(30));
    await agent.start();
    await world.clock.advance(seconds(10));
    const stopped = agent.stop();
    await world.clock.advance(seconds(30));
    await stopped;
    expect(world.desk.facts).toEqual([]);
    agent = world.agent();
    await agent.start();
    await done(1);
    expect(world.machine.guest(id(1))?.power).toBe('suspended');
  });

  it('makes disks anew once, however often it is asked, and leaves the guest as it was told', async () => {
    const rebuild = (generation: number, powerOn: boolean) =>
      ({ spawned: true, operation: { generation, kind: 'rebuild', done: false, powerOn } }) as const;
    await world.spawned(1, rebuild(1, false));
    await agent.start();
    await done(1);
    expect(world.machine.guest(id(1))).toMatchObject({ mark: { build: 1 }, power: 'shutdown' });
    const builds = vi.spyOn(world.machine, 'begin');
    world.desk.want(1, { ...rebuild(1, true), build: 1 });
    world.desk.facts.length = 0;
    await done(1);
    expect(builds).not.toHaveBeenCalled();
    world.desk.want(1, { ...rebuild(2, true), build: 1 });
    await done(2);
    expect(world.machine.guest(id(1))).toMatchObject({ mark: { build: 2 }, power: 'running' });
  });

  it('goes on with a rebuild that another agent was killed in, and fails one that cannot be', async () => {
    await world.spawned(1, { operation: { generation: 1, kind: 'rebuild', done: false, powerOn: true } });
    world.machine.slow('rebuild', seconds(30));
    await agent.start();
    await world.clock.advance(seconds(10));
    await agent.stop();
    expect(world.machine.guest(id(1))?.mark.build).toBe(0);
    world.machine.failNext('rebuild', new HypervisorError('unavailable', 'not now'));
    agent = world.agent();
    await agent.start();
    await done(1);
    world.machine.failNext('rebuild');
    world.desk.facts.length = 0;
    world.desk.want(1, { spawned: true, operation: { generation: 2, kind: 'rebuild', done: false }, build: 1 });
    await world.clock.runUntil(() => world.desk.facts.length > 0, seconds(120));
    expect(world.desk.facts).toMatchObject([{ kind: 'operationFailed', operation: 'rebuild', power: 'running' }]);
  });

  it('starts a guest from another image, also after an agent that was killed, and from its own disk again', async () => {
    const { image } = testGuest(id(1), 'c');
    await world.spawned(1, { operation: { generation: 1, kind: 'rescue', done: false, image } });
    world.machine.slow('rescue', seconds(30));
    await agent.start();
    await world.clock.advance(seconds(10));
    await agent.stop();
    agent = world.agent();
    await agent.start();
    await done(1);
    expect(world.machine.guest(id(1))).toMatchObject({ stage: 'rescued', power: 'running' });
    world.network.ports.clear();
    world.desk.want(1, { spawned: true, operation: { generation: 2, kind: 'unrescue', done: false } });
    await done(2);
    expect(world.machine.guest(id(1))).toMatchObject({ stage: 'settled', power: 'running' });
    expect([...world.network.ports.keys()]).toEqual([id(1)]);
  });

  it('sends a disk as long as somebody waits for it, and again after an agent that was killed', async () => {
    const snapshot = (generation: number) =>
      ({ spawned: true, operation: { generation, kind: 'snapshot', done: false } }) as const;
    await world.spawned(1, snapshot(1));
    world.machine.slow('snapshot', seconds(30));
    await agent.start();
    await world.clock.advance(seconds(10));
    await agent.stop();
    expect(world.sent).toEqual([]);
    agent = world.agent();
    await agent.start();
    world.refusals.push(unavailable('the image service is away'));
    await done(1);
    expect(world.sent).toHaveLength(1);
    expect(world.machine.guest(id(1))?.power).toBe('running');
    // What an agent before it had sent is not sent again.
    world.desk.upload = { url: null, format: 'qcow2' };
    world.desk.want(1, snapshot(2));
    await done(2);
    expect(world.sent).toHaveLength(1);
  });

  it('says so when a disk is not wanted', async () => {
    await world.spawned(1, { operation: { generation: 1, kind: 'snapshot', done: false } });
    world.refusals.push(new DomainError('unsupportedMedia', 'no'));
    await agent.start();
    await world.clock.runUntil(() => world.desk.facts.length > 0, seconds(1));
    expect(world.desk.facts).toMatchObject([{ kind: 'operationFailed', operation: 'snapshot', power: 'running' }]);
  });

  describe('resizing', () => {
    const { flavor } = testGuest(id(1), 'c');
    const larger = { ...flavor, vcpus: 2, memory: mib(32) };
    const open = (generation: number, kind: 'resize' | 'confirmResize' | 'revertResize', to = larger) =>
      ({ spawned: true, operation: { generation, kind, done: false, flavor: to, powerOn: true } }) as const;
    const guest = () => world.machine.guest(id(1));

    it('switches the guest off for it and on again, and goes back', async () => {
      await world.spawned(1, open(1, 'resize'));
      await agent.start();
      await done(1);
      expect(guest()).toMatchObject({ stage: 'resized', power: 'running', vcpus: 2, memoryMib: 32 });
      expect([...world.network.ports.keys()]).toEqual([id(1)]);
      world.desk.want(1, open(2, 'revertResize', flavor));
      await done(2);
      expect(guest()).toMatchObject({ stage: 'settled', power: 'running', vcpus: 1, memoryMib: 16 });
    });

    it('goes on where an agent was killed, and does not stop a guest that is resized already', async () => {
      await world.spawned(1, open(1, 'resize'));
      world.machine.slow('resize', seconds(30));
      await agent.start();
      await world.clock.advance(seconds(10));
      await agent.stop();
      expect(guest()?.power).toBe('shutdown');
      agent = world.agent();
      await agent.start();
      await done(1);
      const startedAt = guest()?.startedAt;
      world.desk.facts.length = 0;
      world.desk.want(1, open(1, 'resize'));
      await done(1);
      expect(guest()).toMatchObject({ stage: 'resized', power: 'running', startedAt });
      world.desk.want(1, open(2, 'confirmResize'));
      await done(2);
      world.desk.facts.length = 0;
      world.desk.want(1, open(2, 'confirmResize'));
      await done(2);
      expect(guest()).toMatchObject({ stage: 'settled', power: 'running', vcpus: 2 });
    });

    it('brings the guest up again when it cannot be', async () => {
      await world.spawned(1, open(1, 'resize'));
      world.machine.failNext('resize');
      await agent.start();
      await world.clock.runUntil(() => world.desk.facts.length > 0, seconds(60));
      expect(world.desk.facts).toMatchObject([{ kind: 'operationFailed', operation: 'resize', power: 'running' }]);
      expect(guest()).toMatchObject({ stage: 'settled', power: 'running', vcpus: 1 });
    });

    it('brings the guest up again when it cannot go back', async () => {
      await world.spawned(1, open(1, 'resize'));
      await agent.start();
      await done(1);
      world.desk.facts.length = 0;
      world.machine.failNext('resize');
      world.desk.want(1, open(2, 'revertResize', flavor));
      await world.clock.runUntil(() => world.desk.facts.length > 0, seconds(60));
      expect(world.desk.facts).toMatchObject([
        { kind: 'operationFailed', operation: 'revertResize', power: 'running' },
      ]);
      expect(guest()).toMatchObject({ stage: 'resized', power: 'running' });
    });

    it('leaves it alone when its flavor is one that it cannot get', async () => {
      await world.spawned(1, open(1, 'resize', { ...larger, memory: mib(2 ** 30) }));
      await agent.start();
      const startedAt = guest()?.startedAt;
      await world.clock.runUntil(() => world.desk.facts.length > 0, seconds(60));
      expect(world.desk.facts).toMatchObject([{ kind: 'operationFailed', operation: 'resize', power: 'running' }]);
      expect(guest()).toMatchObject({ stage: 'settled', power: 'running', startedAt });
    });

    it('confirms no guest that has gone back', async () => {
      await world.spawned(1, open(1, 'confirmResize'));
      await agent.start();
      await world.clock.runUntil(() => world.desk.facts.length > 0, seconds(60));
      expect(world.desk.facts).toMatchObject([{ kind: 'operationFailed', operation: 'confirmResize' }]);
    });
  });

  const port = (n: number) => id(n) as string as PortId;
  const changed = (portId: string) => () =>
    world.desk.facts.some((f) => f.kind === 'interfaceDone' && f.portId === portId);
  const nics = () => world.machine.guest(id(1))?.nics.map((nic) => nic.portId);

  it('gives a guest another interface, and takes it out with its port', async () => {
    await world.spawned(1, { interfaces: [{ portId: port(1), change: 'attach' }] });
    await agent.start();
    await world.clock.runUntil(changed(id(1)), seconds(1));
    expect(nics()).toEqual([id(1)]);
    expect([...world.network.ports.keys()]).toEqual([id(1)]);
    world.desk.facts.length = 0;
    world.desk.want(1, { spawned: true, interfaces: [{ portId: port(1), change: 'detach' }] });
    await world.clock.runUntil(changed(id(1)), seconds(31));
    expect(nics()).toEqual([]);
    world.desk.want(1, { spawned: true, ports: [], portIds: [] });
    await world.clock.advance(seconds(31));
    expect([...world.network.ports.keys()]).toEqual([]);
  });

  it('goes on with an interface that another agent did not live to report', async () => {
    await world.spawned(1, { interfaces: [{ portId: port(1), change: 'detach' }] });
    world.machine.slow('detach', seconds(20));
    await agent.start();
    await world.clock.advance(seconds(10));
    const stopped = agent.stop();
    await world.clock.advance(seconds(20));
    await stopped;
    expect(world.desk.facts).toEqual([]);
    agent = world.agent();
    await agent.start();
    await world.clock.runUntil(changed(id(1)), seconds(31));
  });

  it('asks a guest again that does not let go of an interface, and says so when it never will', async () => {
    await world.spawned(1, { interfaces: [{ portId: port(1), change: 'detach' }] });
    world.machine.failNext('detach', new HypervisorError('unavailable', 'not yet'));
    world.machine.failNext('detach');
    await agent.start();
    await world.clock.runUntil(() => world.desk.facts.length > 0, seconds(31));
    expect(world.desk.facts).toMatchObject([{ kind: 'interfaceFailed', change: 'detach', unsupported: false }]);
  });

  it('says that it cannot what its hypervisor cannot', async () => {
    await agent.stop();
    agent = world.agent(['suspending']);
    await world.spawned(1, { operation: { generation: 1, kind: 'suspend', done: false } });
    await agent.start();
    await world.clock.runUntil(() => world.desk.facts.length > 0, seconds(1));
    expect(world.desk.facts[0]).toMatchObject({ kind: 'operationFailed', unsupported: true, power: 'running' });
  });
});
