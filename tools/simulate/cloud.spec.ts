import { at, hostBus, seconds } from '@omnivisor/contracts';
import { describe, expect, it, vi } from 'vitest';
import { replay } from '../../apps/api-gateway/src/audit/replay.js';
import { gatewayProjections } from '../../apps/api-gateway/src/projections.js';
import { SimulatedCloud, type SimulatedHost } from './cloud.js';

describe('three fake hosts and two gateways in one process', () => {
  it('take a server from its request to ACTIVE, and back to nothing', async () => {
    const cloud = await SimulatedCloud.start();
    const id = await cloud.create();
    expect(await cloud.until(id, (s) => s.vmState === 'active')).toMatchObject({ power: 'running', taskState: null });
    expect(cloud.guests(id)).toHaveLength(1);
    await cloud.delete(id);
    await cloud.until(id, (s) => s.released && s.onHost === null);
    expect(cloud.guests(id)).toHaveLength(0);
    await cloud.clock.runUntil(async () => (await cloud.claims()) === 0);
    await cloud.stop();
  });

  it('leave read models that equal a replay from zero', async () => {
    const cloud = await SimulatedCloud.start();
    const ids = await Promise.all(Array.from({ length: 10 }, () => cloud.create()));
    for (const id of ids) await cloud.until(id, (s) => s.vmState === 'active');
    await Promise.all(ids.slice(0, 5).map((id) => cloud.delete(id)));
    for (const id of ids.slice(0, 5)) await cloud.until(id, (s) => s.released);
    const report = await replay(cloud.store, cloud.readModel, gatewayProjections);
    expect(report.differences).toEqual([]);
    expect(report.equal).toBe(true);
    await cloud.stop();
  });
});

describe('power', () => {
  it('operations are carried out once each', async () => {
    const cloud = await SimulatedCloud.start({ hosts: 1 });
    const id = await cloud.create();
    await cloud.until(id, (s) => s.vmState === 'active');
    for (const [operation, state] of [
      ['stop', 'stopped'],
      ['start', 'active'],
      ['pause', 'paused'],
      ['unpause', 'active'],
      ['hardReboot', 'active'],
    ] as const) {
      await cloud.send({ type: 'power', serverId: id, operation, asAdmin: false });
      expect(await cloud.until(id, (s) => s.taskState === null)).toMatchObject({ vmState: state, fault: null });
    }
    await cloud.stop();
  });

  it('a guest that shuts itself down is SHUTOFF, and nobody undoes it', async () => {
    const cloud = await SimulatedCloud.start({ hosts: 1 });
    const id = await cloud.create();
    await cloud.until(id, (s) => s.vmState === 'active');
    cloud.hosts[0]!.machine.shutDownFromInside(id);
    await cloud.until(id, (s) => s.vmState === 'stopped');
    await cloud.clock.advance(seconds(120));
    expect(cloud.guests(id)[0]?.power).toBe('shutdown');
    await cloud.stop();
  });
});

describe('spawn once', () => {
  it('a guest that vanished is an error and never made again', async () => {
    const cloud = await SimulatedCloud.start({ hosts: 1 });
    const id = await cloud.create();
    await cloud.until(id, (s) => s.vmState === 'active');
    cloud.hosts[0]!.machine.vanish(id);
    await cloud.until(id, (s) => s.vmState === 'error');
    await cloud.clock.advance(seconds(300));
    expect(cloud.guests(id)).toHaveLength(0);
    await cloud.stop();
  });

  it('a failed spawn moves to the next host, and leaves no claim behind', async () => {
    const cloud = await SimulatedCloud.start();
    for (const host of cloud.hosts.slice(0, 2)) host.machine.failNext('spawn', undefined, 10);
    const id = await cloud.create();
    const server = await cloud.until(id, (s) => s.vmState !== 'building');
    expect(server).toMatchObject({ vmState: 'active', host: 'compute-3' });
    await cloud.clock.runUntil(async () => (await cloud.claims()) === 1);
    await cloud.stop();
  });
});

describe('guests outlive us', () => {
  it('a new agent takes up the guests of the one before', async () => {
    const cloud = await SimulatedCloud.start({ hosts: 1 });
    const id = await cloud.create();
    await cloud.until(id, (s) => s.vmState === 'active');
    await cloud.hosts[0]!.agent.stop();
    await cloud.startAgent(cloud.hosts[0]!);
    await cloud.clock.advance(seconds(60));
    expect(await cloud.server(id)).toMatchObject({ vmState: 'active' });
    expect(cloud.guests(id)).toHaveLength(1);
    await cloud.stop();
  });
});

describe('session fencing', () => {
  /** How often the driver of a host's present agent was called to change something. */
  const changesBy = (host: SimulatedHost) => {
    const calls = (['spawn', 'destroy', 'powerOn', 'powerOff', 'reboot'] as const).map((m) => vi.spyOn(host.driver, m));
    return () => calls.reduce((n, spy) => n + spy.mock.calls.length, 0);
  };
  const endOf = (agent: SimulatedHost['agent']) => {
    const seen: { superseded?: unknown } = {};
    void agent.ended.then(({ details }) => Object.assign(seen, details));
    return seen;
  };

  it('a newer agent ends an older one in the middle of its work, and does that work', async () => {
    const cloud = await SimulatedCloud.start({ hosts: 1 });
    const host = cloud.hosts[0]!;
    const [stopping, spawning] = [await cloud.create(), await cloud.create()];
    await cloud.until(stopping, (s) => s.vmState === 'active');
    host.machine.ignoringAcpi.add(stopping);
    host.machine.slow('spawn', seconds(30));
    const older = host.agent;
    const end = endOf(older);
    const changes = changesBy(host);
    const late = await cloud.create();
    await cloud.send({ type: 'power', serverId: stopping, operation: 'stop', asAdmin: false });
    await cloud.clock.runUntil(() => changes() === 2);

    await cloud.startAgent(host);
    await cloud.clock.runUntil(() => end.superseded === true, seconds(1));
    await cloud.until(stopping, (s) => s.vmState === 'stopped');
    await cloud.until(late, (s) => s.vmState === 'active');
    expect(changes()).toBe(2);
    expect(await cloud.server(spawning)).toMatchObject({ vmState: 'active', fault: null });
    for (const id of [stopping, spawning, late]) expect(cloud.guests(id)).toHaveLength(1);
    await cloud.stop();
  });

  it('an older agent that heard nothing of it asks before its next change, and makes none', async () => {
    const cloud = await SimulatedCloud.start({ hosts: 1 });
    const host = cloud.hosts[0]!;
    const id = await cloud.create();
    await cloud.until(id, (s) => s.vmState === 'active');
    const end = endOf(host.agent);
    const changes = changesBy(host);
    host.machine.failNext('destroy');
    await cloud.delete(id);
    await cloud.clock.runUntil(() => changes() === 1);
    cloud.bus.loses = (subject) => subject.startsWith('wake.');
    host.machine.slow('destroy', seconds(5));
    await cloud.startAgent(host);
    // Its next try is due in half a second, its next beat much later.
    await cloud.clock.runUntil(() => end.superseded === true, seconds(1));
    expect(changes()).toBe(1);
    await cloud.until(id, (s) => s.released);
    await cloud.stop();
  });

  it('an older session learns from desired that it has ended, and nothing else', async () => {
    const cloud = await SimulatedCloud.start({ hosts: 1 });
    const [host] = cloud.hosts;
    await cloud.startAgent(host!);
    const asOlder = (since: number) =>
      cloud.bus.request(hostBus.desired, { session: 1, since }, at(hostBus.desired, host!.id));
    await expect(asOlder(0)).rejects.toMatchObject({ name: 'HostSessionEnded' });
    await expect(asOlder(1)).rejects.toMatchObject({ name: 'HostSessionEnded' });
    await cloud.stop();
  });

  it('what an agent gave up as it was stopped is neither a failure nor lost', async () => {
    const cloud = await SimulatedCloud.start({ hosts: 1 });
    const host = cloud.hosts[0]!;
    host.machine.slow('spawn', seconds(30));
    const changes = changesBy(host);
    const id = await cloud.create();
    await cloud.clock.runUntil(() => changes() === 1);
    await host.agent.stop();
    expect(cloud.guests(id)).toHaveLength(0);
    expect(await cloud.server(id)).toMatchObject({ vmState: 'building', failedHosts: [] });
    await cloud.startAgent(host);
    await cloud.until(id, (s) => s.vmState === 'active');
    await cloud.stop();
  });
});

describe('quarantine', () => {
  it('a guest that the log does not know is reported and never touched, until an operator discards it', async () => {
    const cloud = await SimulatedCloud.start({ hosts: 1 });
    const id = await cloud.create();
    await cloud.until(id, (s) => s.vmState === 'active');
    const guest = cloud.guests(id)[0]!;
    const stray = { ...guest, mark: { ...guest.mark, serverId: cloud.ids.uuid() as typeof id } };
    cloud.hosts[0]!.machine.plant(stray);
    const quarantined = async () => (await cloud.admin('host-quarantine-list', {})) as { serverId: string }[];
    await cloud.clock.runUntil(async () => (await quarantined()).length === 1, seconds(120));
    await cloud.clock.advance(seconds(300));
    expect(cloud.guests(stray.mark.serverId)).toHaveLength(1);
    await cloud.admin('host-quarantine-discard', { host: 'compute-1', serverId: stray.mark.serverId });
    await cloud.clock.runUntil(() => cloud.guests(stray.mark.serverId).length === 0, seconds(120));
    expect(cloud.guests(id)).toHaveLength(1);
    await cloud.stop();
  });
});

describe('deletion wins', () => {
  it('a server on a host that is down is gone at the deadline; the guest when the host returns', async () => {
    const cloud = await SimulatedCloud.start({ hosts: 1 });
    const id = await cloud.create();
    await cloud.until(id, (s) => s.vmState === 'active');
    await cloud.hosts[0]!.agent.stop();
    await cloud.delete(id);
    await cloud.until(id, (s) => s.vmState === 'deleted');
    expect(cloud.guests(id)).toHaveLength(1);
    expect(await cloud.claims()).toBe(1);
    await cloud.startAgent(cloud.hosts[0]!);
    await cloud.clock.runUntil(() => cloud.guests(id).length === 0, seconds(120));
    await cloud.clock.runUntil(async () => (await cloud.claims()) === 0, seconds(120));
    await cloud.stop();
  });

  it('a deletion does not wait for a guest that takes its time to stop', async () => {
    const cloud = await SimulatedCloud.start({ hosts: 1 });
    const id = await cloud.create();
    await cloud.until(id, (s) => s.vmState === 'active');
    cloud.hosts[0]!.machine.ignoringAcpi.add(id);
    await cloud.send({ type: 'power', serverId: id, operation: 'stop', asAdmin: false });
    const asked = cloud.clock.now();
    await cloud.clock.advance(seconds(1));
    await cloud.delete(id);
    await cloud.until(id, (s) => s.released);
    expect(Date.parse(cloud.clock.now()) - Date.parse(asked)).toBeLessThan(5_000);
    await cloud.stop();
  });
});

describe('a lost wake-up', () => {
  it('costs no more than a beat', async () => {
    const cloud = await SimulatedCloud.start({ hosts: 1 });
    const id = await cloud.create();
    await cloud.until(id, (s) => s.vmState === 'active');
    await cloud.clock.advance(seconds(61));
    cloud.bus.loses = (subject) => subject.startsWith('wake.');
    for (const operation of ['stop', 'start'] as const) {
      const asked = Date.parse(cloud.clock.now());
      await cloud.send({ type: 'power', serverId: id, operation, asAdmin: false });
      await cloud.until(id, (s) => s.taskState === null);
      expect(Date.parse(cloud.clock.now()) - asked).toBeLessThanOrEqual(10_000);
    }
    await cloud.stop();
  });

  it.each(['the bus comes back', 'a gateway starts'])('is made good at once when %s', async (what) => {
    const cloud = await SimulatedCloud.start({ hosts: 1 });
    const id = await cloud.create();
    await cloud.until(id, (s) => s.vmState === 'active');
    cloud.bus.loses = (subject) => subject.startsWith('wake.');
    await cloud.send({ type: 'power', serverId: id, operation: 'stop', asAdmin: false });
    await cloud.clock.advance(seconds(1));
    cloud.bus.loses = () => false;
    if (what === 'a gateway starts') await cloud.addGateway();
    else {
      cloud.bus.setConnected(false);
      cloud.bus.setConnected(true);
    }
    await cloud.clock.runUntil(() => cloud.guests(id)[0]?.power === 'shutdown', seconds(2));
    await cloud.stop();
  });
});

describe('the bus is away for a minute', () => {
  it('and everything that was accepted comes to rest', async () => {
    const cloud = await SimulatedCloud.start();
    const ids = await Promise.all(Array.from({ length: 5 }, () => cloud.create()));
    cloud.bus.setConnected(false);
    await cloud.clock.advance(seconds(60));
    cloud.bus.setConnected(true);
    for (const id of ids) await cloud.until(id, (s) => s.vmState === 'active', 2);
    for (const id of ids) expect(cloud.guests(id)).toHaveLength(1);
    await cloud.stop();
  });
});
