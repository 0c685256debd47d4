import { GuestDetails, GuestStatistics, hostBus, RdpTicket, type ServerId, seconds } from '@omnivisor/contracts';
import { beforeEach, describe, expect, it } from 'vitest';
import { testGuest } from '../drivers/common/test-guest.js';
import { FakeDriver } from '../drivers/fake/index.js';
import { AgentWorld, cloudId, id } from './agent.fixtures.js';

let world: AgentWorld;
beforeEach(async () => {
  world = await AgentWorld.open();
  await world.spawned(1);
});

type Wake = Parameters<typeof hostBus.Wake.parse>[0];
/** What the host answers. */
const answerTo = async (question: Wake & object) => {
  const { bus, clock, desk } = world;
  bus.publish(hostBus.wakeSubject('h'), { ...question, question: 'q' });
  await clock.runUntil(() => desk.answers.length > 0, seconds(30));
  return desk.answers.pop()!;
};
const unsupported = { ok: false, unsupported: true, body: '' };

describe('a host that is asked', () => {
  it('for the counters of a guest gives those of its hypervisor', async () => {
    await world.agent().start();
    await world.clock.advance(seconds(60));
    const { ok, body } = await answerTo({ kind: 'statistics', serverId: id(1) });
    expect(ok).toBe(true);
    const found = GuestStatistics.parse(JSON.parse(body));
    expect(found.uptime).toBeGreaterThanOrEqual(60);
    expect(found.disks.map(({ disk }) => disk)).toContain('root');
  });

  it('for how far a guest has moved that stays says nothing', async () => {
    await world.agent().start();
    expect(await answerTo({ kind: 'migrationProgress', serverId: id(1) })).toMatchObject({ ok: true, body: 'null' });
  });

  it('for those of a guest that it does not have, or that is off, has none', async () => {
    await world.agent().start();
    for (const serverId of [id(2), id(1)]) {
      expect(await answerTo({ kind: 'statistics', serverId })).toMatchObject({ ok: serverId === id(1) });
    }
    world.machine.shutDownFromInside(id(1));
    expect(await answerTo({ kind: 'statistics', serverId: id(1) })).toMatchObject({ ok: false, unsupported: false });
  });

  it('for what its hypervisor does not tell says so', async () => {
    await world
      .agent(['statistics', 'consoleLog', 'adoption', 'crashDumps', 'guestAgent', 'guestIntegration', 'consoleTickets'])
      .start();
    expect(await answerTo({ kind: 'statistics', serverId: id(1) })).toMatchObject(unsupported);
    expect(await answerTo({ kind: 'consoleLog', serverId: id(1), maxBytes: 9 })).toMatchObject(unsupported);
    expect(await answerTo({ kind: 'foreignGuests' })).toMatchObject(unsupported);
    expect(await answerTo({ kind: 'crashDump', serverId: id(1) })).toMatchObject(unsupported);
    for (const kind of ['guestDetails', 'setPassword', 'consoleTicket'] as const) {
      const rest = { user: 'root', password: 'hush', protocol: 'rdp' } as const;
      expect(await answerTo({ kind, serverId: id(1), ...rest } as Wake & object)).toMatchObject(unsupported);
    }
    // The agent drives a hypervisor on another machine.
    expect(await answerTo({ kind: 'uptime' })).toMatchObject(unsupported);
    expect(world.errors).toEqual([]);
  });

  it('for what a guest tells of itself asks its hypervisor, else an agent inside', async () => {
    const details = async () =>
      GuestDetails.parse(JSON.parse((await answerTo({ kind: 'guestDetails', serverId: id(1) })).body));
    const agent = world.agent();
    await agent.start();
    expect(await details()).toMatchObject({
      hostname: expect.any(String),
      services: [{ name: 'fake', answers: true }],
    });
    await agent.stop();
    await world.agent(['guestIntegration']).start();
    expect(await details()).toMatchObject({ hostname: null, services: [{ name: 'guest agent', answers: false }] });
  });

  it('for the console of a guest tells where it is, while it runs', async () => {
    await world.agent().start();
    const ask = () => answerTo({ kind: 'consoleTicket', serverId: id(1), protocol: 'rdp' });
    expect(RdpTicket.parse(JSON.parse((await ask()).body))).toMatchObject({ port: 2179, accessPath: id(1) });
    world.machine.shutDownFromInside(id(1));
    expect(await ask()).toMatchObject({ ok: false, unsupported: false });
  });

  it('for another password has the agent in the guest change it, and does not tell it again', async () => {
    const spec = testGuest(id(2), cloudId);
    const image = { ...spec.image, properties: { ...spec.image.properties, hw_qemu_guest_agent: 'yes' } };
    await new FakeDriver(world.machine, { cloudId }).spawn({ ...spec, image }, new AbortController().signal);
    world.desk.want(2, { spawned: true });
    await world.agent().start();
    const ask = (serverId: ServerId, user = 'root') =>
      answerTo({ kind: 'setPassword', serverId, user, password: 'hush' });
    expect(await ask(id(2))).toMatchObject({ ok: true, body: '' });
    expect(await ask(id(2), 'nobody')).toMatchObject({ ok: false, unsupported: false, body: '' });
    // The image of the guest has no agent.
    expect(await ask(id(1))).toMatchObject(unsupported);
    const { body } = await answerTo({ kind: 'consoleLog', serverId: id(2), maxBytes: 1_000 });
    expect(body).toContain('password of root changed');
    expect(JSON.stringify([body, world.errors])).not.toContain('hush');
  });

  it('for its uptime gives that of its machine', async () => {
    world.uptime = async () => ' 08:32:11 up 93 days';
    await world.agent().start();
    expect(await answerTo({ kind: 'uptime' })).toMatchObject({ ok: true, body: ' 08:32:11 up 93 days' });
  });
});
