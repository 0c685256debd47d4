import { bytes, ms, type ServerId } from '@omnivisor/contracts';
import { describe, expect } from 'vitest';
import type { HypervisorDriver } from '../../hypervisor-driver.js';
import { never, newId, refusal, type Stage } from '../stage.js';

/** Every call about one server that must refuse an unknown one, by its name. */
const callsAbout = (driver: HypervisorDriver, id: ServerId): Record<string, () => Promise<unknown>> => {
  const { pausing, suspending, rescuing, resizing, crashDumps, snapshots, disks, diskGrowing, nics } = driver;
  const { liveMigration, consoleLog, consoles, consoleTickets, statistics, guestAgent } = driver;
  return {
    inspect: () => driver.inspect(id),
    powerOn: () => driver.powerOn(id, []),
    powerOff: () => driver.powerOff(id, ms(0)),
    reboot: () => driver.reboot(id, 'hard', []),
    ...(pausing && { pause: () => pausing.pause(id), unpause: () => pausing.unpause(id) }),
    ...(suspending && { suspend: () => suspending.suspend(id), resume: () => suspending.resume(id, []) }),
    ...(rescuing && { unrescue: () => rescuing.unrescue(id, []) }),
    ...(resizing && {
      confirmResize: () => resizing.confirmResize(id),
      revertResize: () => resizing.revertResize(id),
    }),
    ...(crashDumps && { crashDump: () => crashDumps.trigger(id) }),
    ...(snapshots && { exportDisk: () => snapshots.exportDisk(id, 'root', snapshots.formats[0]!, never) }),
    ...(disks && { detachDisk: () => disks.detach(id, newId()) }),
    ...(diskGrowing && { growDisk: () => diskGrowing.grow(id, newId(), bytes(1 << 30)) }),
    ...(nics && { detachNic: () => nics.detach(id, newId()) }),
    ...(liveMigration && { offer: () => liveMigration.offer(id), accept: () => liveMigration.accept(id) }),
    ...(consoleLog && { consoleLog: () => consoleLog.tail(id, 100) }),
    ...(consoles && { console: () => consoles.open(id, [...consoles.kinds][0]!) }),
    ...(consoleTickets && { consoleTicket: () => consoleTickets.open(id, [...consoleTickets.kinds][0]!) }),
    ...(statistics && { statistics: () => statistics.read(id) }),
    ...(guestAgent && { guestAgent: () => guestAgent.info(id) }),
    ...(driver.guestIntegration && { guestIntegration: () => driver.guestIntegration!.read(id) }),
  };
};

export const describeIsolation = (stage: Stage): void => {
  const { under } = stage;

  describe('a server that is not there', () => {
    stage.behaviour('listing', 'is refused by everything but destroying', async () => {
      const id = newId();
      for (const [name, call] of Object.entries(callsAbout(stage.driver, id)))
        expect([name, await refusal(call())]).toEqual([name, 'serverNotOnHost']);
      await stage.driver.destroy(id);
    });
  });

  describe('guests of others', () => {
    stage.behaviour(
      'isolation',
      'are never listed and never touched',
      async () => {
        const ours = await stage.running();
        const before = (await stage.driver.list()).map(({ mark }) => mark.serverId).sort();
        const foreign = await under.foreignGuest!();
        expect((await stage.driver.list()).map(({ mark }) => mark.serverId).sort()).toEqual(before);
        await stage.driver.reboot(ours.id, 'hard', ours.nics);
        await stage.restart();
        await stage.discard(ours.id);
        expect(await foreign.untouched()).toBe(true);
        await foreign.remove();
      },
      { 'a guest of somebody else': under.foreignGuest },
    );

    stage.behaviour(
      'isolation',
      'are not removed when they are in the way',
      async () => {
        const spec = await stage.spec();
        const foreign = await under.inTheWay!(spec.mark.serverId);
        expect(await refusal(stage.driver.spawn(spec, never))).toBe('fault');
        await stage.driver.destroy(spec.mark.serverId);
        expect(await foreign.untouched()).toBe(true);
        await foreign.remove();
        await stage.driver.spawn(spec, never);
        await stage.discard(spec.mark.serverId);
      },
      { 'something in the way': under.inTheWay },
    );

    stage.behaviour(
      'isolation',
      'of another cloud are neither shown to it nor touched by it',
      async () => {
        const { id, ...spec } = await stage.running();
        const theirs = await under.openOtherCloud!();
        expect((await theirs.list()).filter(({ mark }) => mark.serverId === id)).toEqual([]);
        await theirs.destroy(id);
        expect(await refusal(theirs.powerOff(id, ms(0)))).toBe('serverNotOnHost');
        const mark = { ...spec.mark, cloudId: 'another-cloud' };
        expect(await refusal(theirs.spawn({ ...spec, mark }, never))).toBe('fault');
        await theirs.close();
        expect(await stage.power(id)).toBe('running');
        await stage.discard(id);
      },
      { 'a driver of another cloud': under.openOtherCloud },
    );
  });

  describe('several calls at once', () => {
    stage.behaviour('concurrency', 'for one server are taken in turn', async () => {
      const spec = await stage.running();
      const { id } = spec;
      await Promise.all([stage.driver.powerOff(id, ms(0)), stage.driver.powerOn(id, spec.nics)]);
      expect(await stage.power(id)).toBe('running');
      await Promise.all([stage.driver.reboot(id, 'hard', spec.nics), stage.driver.powerOff(id, ms(0))]);
      expect(await stage.power(id)).toBe('shutdown');
      await Promise.all([stage.discard(id), stage.discard(id)]);
      await stage.leavesNothing(id);
    });

    stage.behaviour('concurrency', 'for several servers go on side by side', async () => {
      const specs = await Promise.all([stage.running(), stage.running(), stage.running()]);
      await Promise.all(specs.map(({ id }) => stage.driver.powerOff(id, ms(0))));
      const found = await stage.driver.list();
      for (const { id } of specs)
        expect(found.find(({ mark }) => mark.serverId === id)).toMatchObject({ power: 'shutdown' });
      await Promise.all(specs.map(({ id }) => stage.discard(id)));
    });

    stage.behaviour(
      'concurrency',
      'say `unavailable` while the backend does not answer, and recover',
      async () => {
        const { id } = await stage.running();
        const recover = await under.makeUnreachable!(id);
        expect(await refusal(stage.driver.inspect(id))).toBe('unavailable');
        await recover();
        await stage.reaches(id, 'running');
        await stage.discard(id);
      },
      { 'a backend that can be cut off': under.makeUnreachable },
    );
  });

  describe('destroying', () => {
    stage.behaviour('destroying', 'leaves nothing, and twice is once', async () => {
      const { id } = await stage.running();
      await stage.discard(id);
      await stage.discard(id);
      await stage.leavesNothing(id);
    });

    stage.behaviour('destroying', 'takes a guest that is off', async () => {
      const { id } = await stage.off();
      await stage.discard(id);
      await stage.leavesNothing(id);
    });

    stage.behaviour('destroying', 'is not hindered by a call before it that fails', async () => {
      const spec = await under.failing((await stage.spec()).mark.serverId);
      const spawned = stage.driver.spawn(spec, never).catch(() => undefined);
      await stage.driver.destroy(spec.mark.serverId);
      await spawned;
      await stage.leavesNothing(spec.mark.serverId);
    });
  });

  describe('events', () => {
    const inside = { 'a test guest that can be talked to': under.inside };

    stage.behaviour(
      'events',
      'tell when a guest switches itself off',
      async () => {
        const { id } = await stage.up();
        const done = new AbortController();
        const seen: ServerId[] = [];
        const reading = (async () => {
          for await (const event of stage.driver.events(done.signal)) seen.push(event.serverId);
        })();
        await under.inside!.switchOff(id);
        await expect.poll(() => seen, { timeout: stage.patience, interval: 20 }).toContain(id);
        await stage.reaches(id, 'shutdown');
        done.abort();
        await reading;
        await stage.discard(id);
      },
      inside,
    );

    stage.behaviour('events', 'end when they are no longer wanted, and when the driver is closed', async () => {
      for await (const _ of stage.driver.events(AbortSignal.abort())) expect.fail('an event after the end');
      const reading = (async () => {
        for await (const _ of stage.driver.events(never));
      })();
      await stage.restart();
      await reading;
    });
  });
};
