import { hostBus, seconds } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeDriver } from '../drivers/fake/fake.driver.js';
import { DISK_FORMATS, HypervisorError } from '../drivers/hypervisor-driver.js';
import { AgentWorld, type Desk, id } from './agent.fixtures.js';
import type { Agent } from './agent.js';

describe('an agent', () => {
  let clock: AgentWorld['clock'];
  let desk: Desk;
  let machine: AgentWorld['machine'];
  let network: AgentWorld['network'];
  let bus: AgentWorld['bus'];
  let agent: Agent;
  let errors: string[];
  let spawned: (n: number) => Promise<void>;

  beforeEach(async () => {
    const world = await AgentWorld.open();
    ({ clock, desk, machine, network, bus, errors } = world);
    spawned = (n) => world.spawned(n);
    agent = world.agent();
  });
  afterEach(() => agent.stop());

  it('serves the other servers of its host while one port cannot be plugged', async () => {
    await spawned(1);
    await spawned(2);
    desk.want(3);
    network.broken.add(id(1));
    await agent.start();
    await clock.runUntil(() => machine.guest(id(3)) !== undefined, seconds(1));
    expect([...network.ports.keys()].sort()).toEqual([id(2), id(3)]);
    machine.shutDownFromInside(id(1));
    await clock.runUntil(() => desk.facts.some((f) => f.serverId === id(1) && f.kind === 'powerChanged'), seconds(1));
    network.broken.clear();
    await clock.runUntil(() => network.ports.has(id(1)), seconds(30));
  });

  it.each(['is gone since', 'failed'])(
    'makes no second guest while nobody answers that the first one %s',
    async (end) => {
      desk.want(1);
      desk.mute = true;
      if (end === 'failed') machine.failNext('spawn');
      await agent.start();
      await clock.runUntil(() => desk.facts.length > 0, seconds(1));
      if (end !== 'failed') machine.vanish(id(1));
      await clock.runUntil(() => desk.facts.length > 2, seconds(30));
      expect(machine.all()).toEqual([]);
      desk.mute = false;
      const last = end === 'failed' ? 'spawnFailed' : 'missing';
      await clock.runUntil(() => desk.facts.at(-1)?.kind === last, seconds(30));
      expect(machine.all()).toEqual([]);
    },
  );

  it('serves the other networks of its host while one cannot be built', async () => {
    desk.want(1, { ports: [] });
    desk.want(2);
    network.broken.add(id(1));
    await agent.start();
    await clock.runUntil(() => network.networks.has(id(2)) && machine.all().length === 2, seconds(1));
    network.broken.clear();
    await clock.runUntil(() => network.networks.has(id(1)), seconds(30));
  });

  it('serves its host while nobody hears of a guest that the log does not ask for', async () => {
    await spawned(1);
    desk.servers.delete(id(1));
    desk.want(2);
    desk.deaf = true;
    await agent.start();
    await clock.runUntil(() => machine.all().length === 2, seconds(1));
    expect(errors).toContain('what nobody asks for');
    desk.deaf = false;
    await clock.runUntil(() => desk.quarantined.length === 1, seconds(31));
    expect(desk.quarantined).toEqual([id(1)]);
  });

  it('asks for images as its driver takes them, and says when there is no such form', async () => {
    desk.hasNoForm = true;
    desk.want(1);
    await agent.start();
    await clock.runUntil(() => desk.facts.length > 0, seconds(1));
    expect(desk.asked).toEqual([[...DISK_FORMATS]]);
    expect(desk.facts).toMatchObject([{ kind: 'spawnFailed', reason: expect.stringContaining('form') }]);
    expect(machine.all()).toEqual([]);
  });

  it.each([
    [
      'what its hypervisor lacks',
      new HypervisorError('unsupported', 'this host cannot serve hw_watchdog_action=reset', 'the secret s3cret'),
      'The hypervisor cannot do it: this host cannot serve hw_watchdog_action=reset.',
    ],
    [
      'the same of what is a sentence already',
      new HypervisorError('unsupported', "hw:cpu_policy cannot be 'own'."),
      "The hypervisor cannot do it: hw:cpu_policy cannot be 'own'.",
    ],
    ['that there is no room', new HypervisorError('noResources', '1 GiB on /srv'), 'The host has no room for it.'],
    ['nothing of what failed', new HypervisorError('fault', 'login s3cret'), 'The hypervisor could not do it.'],
  ])('says %s when a guest cannot be made, and leaves nothing', async (_, error, reason) => {
    desk.want(1);
    machine.failNext('spawn', error);
    await agent.start();
    await clock.runUntil(() => desk.facts.length > 0, seconds(31));
    expect(desk.facts).toEqual([{ serverId: id(1), kind: 'spawnFailed', reason }]);
    expect(machine.all()).toEqual([]);
    expect([...network.ports.keys()]).toEqual([]);
  });

  it('gives its driver the properties of an image in the words of today', async () => {
    desk.want(1);
    const server = desk.servers.get(id(1))!;
    const properties = { hw_vif_model: 'VirtualVmxnet3', vm_mode: 'PV' };
    desk.servers.set(id(1), { ...server, image: { ...server.image, properties } });
    await agent.start();
    await clock.runUntil(() => desk.facts.length > 0, seconds(1));
    expect(desk.facts).toMatchObject([{ kind: 'spawned' }]);
  });

  it('gives up a spawn that the log does not ask for any more', async () => {
    desk.want(1);
    machine.slow('spawn', seconds(3_600));
    await agent.start();
    await clock.runUntil(() => network.ports.size === 1);
    desk.servers.delete(id(1));
    // Its port goes in the round after.
    await clock.runUntil(() => network.ports.size === 0, seconds(61));
    expect(machine.all()).toEqual([]);
    expect(desk.facts).toEqual([]);
  });

  it('takes out ports that neither the log nor a guest has any use for', async () => {
    await spawned(1);
    await spawned(2);
    desk.want(3);
    await agent.start();
    await clock.runUntil(() => network.ports.size === 3);
    // The log forgets two of them; one of these still has its guest.
    for (const n of [1, 2]) desk.servers.delete(id(n));
    machine.vanish(id(2));
    await clock.runUntil(() => network.ports.size === 2, seconds(31));
    await clock.advance(seconds(60));
    expect([...network.ports.keys()].sort()).toEqual([id(1), id(3)]);
  });

  it('cuts a port off that its hypervisor cannot guard any more, and plugs it in again once it can', async () => {
    const provider = { networkType: 'vlan' as const, physicalNetwork: 'physnet1', segmentationId: 5 };
    desk.want(1);
    desk.networks.set(id(1), { ...desk.networks.get(id(1))!, provider });
    await agent.start();
    await clock.runUntil(() => desk.facts.some((f) => f.kind === 'spawned'), seconds(1));
    await clock.advance(seconds(31));
    const nics = () => machine.guest(id(1))!.nics;
    expect(nics()).toMatchObject([{ attachment: { kind: 'provider', segmentationId: 5 }, guard: { rules: [] } }]);
    const server = desk.servers.get(id(1))!;
    const rule = { direction: 'ingress' as const, ethertype: 'IPv4' as const, protocol: '1', portMin: 8, portMax: 0 };
    const rules = [{ ...rule, remotePrefixes: ['0.0.0.0/0'], remoteGroup: null }];
    desk.servers.set(id(1), { ...server, ports: [{ ...server.ports[0]!, rules }] });
    machine.failNext('attach', new HypervisorError('unsupported', 'no types of ICMP here'));
    await clock.runUntil(() => !nics()[0]!.passes, seconds(31));
    await clock.runUntil(() => nics()[0]!.passes === true, seconds(31));
    expect(nics()).toHaveLength(1);
    expect(nics()).toMatchObject([{ guard: { rules: [{ protocol: '1' }] } }]);
  });

  it.each([0, 3])(
    'leaves no shell of a guest that was on its way when its server is deleted %i s later',
    async (late) => {
      const shell = { attempt: 2, part: 'incoming', arrivesBy: 'copied' } as const;
      desk.want(1, shell);
      await agent.start();
      await clock.advance(seconds(1));
      machine.slow('migrate', seconds(10));
      bus.publish(hostBus.wakeSubject('h'), {
        ...{ kind: 'receive', question: 'q', serverId: id(1), attempt: 2, offer: JSON.stringify({ fake: id(1) }) },
      });
      await clock.advance(seconds(late));
      desk.want(1, { attempt: 2, tombstone: true, ports: [] });
      bus.publish(hostBus.wakeSubject('h'), { kind: 'desired' });
      await clock.runUntil(() => desk.facts.some((f) => f.kind === 'absent'), seconds(30));
      desk.servers.delete(id(1));
      await clock.advance(seconds(61));
      expect([machine.all(), [...network.ports.keys()], desk.quarantined]).toEqual([[], [], []]);
      expect(desk.answers).toMatchObject([{ question: 'q', ok: false }]);
    },
  );

  it('says which attempt of a server is to go: the one that is there, on a tombstone or given up by an operator', async () => {
    const destroy = vi.spyOn(FakeDriver.prototype, 'destroy');
    await spawned(1);
    await spawned(2);
    desk.want(1, { tombstone: true, attempt: 2 });
    desk.servers.delete(id(2));
    desk.discard = [{ serverId: id(2), attempt: 1 }];
    await agent.start();
    await clock.runUntil(() => machine.all().length === 0, seconds(5));
    expect(destroy.mock.calls.map(String).sort()).toEqual([`${id(1)},1`, `${id(2)},1`]);
    destroy.mockRestore();
  });

  it('says that a server is absent when none of its attempts is left', async () => {
    await spawned(1);
    desk.want(1, { tombstone: true, attempt: 3 });
    const older = machine.guest(id(1))!;
    const destroy = vi.spyOn(FakeDriver.prototype, 'destroy').mockImplementationOnce(async () => undefined);
    await agent.start();
    await clock.runUntil(() => errors.includes(`server ${id(1)}`), seconds(5));
    expect(desk.facts).toEqual([]);
    destroy.mockRestore();
    // Another one that was hidden behind the first.
    const remove = machine.remove.bind(machine);
    vi.spyOn(machine, 'remove').mockImplementationOnce((server) => {
      remove(server);
      machine.plant({ ...older, mark: { ...older.mark, attempt: 2 } });
    });
    await clock.runUntil(() => desk.facts.length > 0, seconds(30));
    expect(machine.all()).toEqual([]);
    expect(desk.facts).toEqual([{ serverId: id(1), kind: 'absent' }]);
  });

  it('makes a shell for a guest that is on its way after what it is doing for the server', async () => {
    await spawned(1);
    desk.want(1, { tombstone: true });
    machine.slow('destroy', seconds(5));
    await agent.start();
    await clock.advance(seconds(1));
    desk.want(1, { attempt: 2, part: 'incoming', arrivesBy: 'copied' });
    bus.publish(hostBus.wakeSubject('h'), {
      ...{ kind: 'receive', question: 'q', serverId: id(1), attempt: 2, offer: JSON.stringify({ fake: id(1) }) },
    });
    await clock.runUntil(() => desk.answers.length > 0, seconds(30));
    expect(desk.answers).toMatchObject([{ ok: true }]);
    expect(machine.guest(id(1))).toMatchObject({ stage: 'incoming', mark: { attempt: 2 } });
  });

  it('tries what fails again and again, at a slowing pace', async () => {
    await spawned(1);
    network.broken.add(id(1));
    await agent.start();
    await clock.advance(seconds(29));
    expect(errors.filter((where) => where === `server ${id(1)}`)).toHaveLength(6);
  });
});
