import { ms } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { type GuestSpec, type HypervisorDriver, HypervisorError, type LiveMigration } from '../../hypervisor-driver.js';
import { never, refusal, type Stage } from '../stage.js';

export const describeMigration = (stage: Stage) =>
  describe('live migration', () => {
    const { under } = stage;
    const options = {
      disks: under.supports.includes('liveMigration.copied') ? 'copied' : 'shared',
      attached: [],
    } as const;
    const other = { 'another host': under.otherHost };
    let target: HypervisorDriver;
    const there = (): LiveMigration => target.liveMigration!;
    const here = (): LiveMigration => stage.driver.liveMigration!;

    beforeAll(async () => {
      if (under.otherHost) target = await under.otherHost.open();
    });
    afterAll(async () => target?.close());

    /** What is expected of the guest on the other host: there it is the next attempt. */
    const elsewhere = (spec: GuestSpec): GuestSpec => {
      const plugged = under.otherHost!.spec(spec);
      return { ...plugged, mark: { ...spec.mark, attempt: spec.mark.attempt + 1 } };
    };
    const invited = async (spec: GuestSpec) =>
      there().receive(elsewhere(spec), await here().offer(spec.mark.serverId), options, never);
    const gone = async (id: Parameters<typeof stage.power>[0]) => {
      await target.destroy(id);
      await stage.discard(id);
      await stage.leavesNothing(id);
      expect(await under.otherHost!.leftovers(id)).toEqual([]);
    };

    stage.behaviour(
      'liveMigration',
      'moves a running guest with memory and disk, and leaves nothing that could start',
      async () => {
        const spec = await stage.up();
        await under.inside?.memory?.write(spec.id, 'M');
        await under.inside?.disk?.write(spec.id, 0, 'D');
        const { mark } = elsewhere(spec);
        const ticket = await invited(spec);
        expect(await target.inspect(spec.id)).toMatchObject({ stage: 'incoming', power: 'noState', mark });
        expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'settled', mark: spec.mark });
        await here().send(spec.id, ticket, { signal: never });
        expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'moved', mark: spec.mark });
        expect((await target.list()).map((guest) => guest.mark)).toContainEqual(mark);
        for (let i = 0; i < 2; i++) await there().accept(spec.id);
        expect(await target.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running', mark });
        expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'moved', mark: spec.mark });
        expect(await refusal(stage.driver.powerOn(spec.id, spec.nics))).toBe('fault');
        expect(await refusal(here().recover(spec.id))).toBe('fault');
        expect(await refusal(there().cancel(spec.id))).toBe('fault');
        await stage.discard(spec.id);
        expect(await target.inspect(spec.id)).toMatchObject({ power: 'running' });

        const back = { ...spec, mark: { ...spec.mark, attempt: mark.attempt + 1 } };
        await here()
          .receive(back, await there().offer(spec.id), options, never)
          .then((second) => there().send(spec.id, second, { signal: never }));
        await here().accept(spec.id);
        await target.destroy(spec.id);
        if (under.inside?.memory) expect(await under.inside.memory.read(spec.id)).toBe('M');
        if (under.inside?.disk) expect(await under.inside.disk.read(spec.id, 0)).toBe('D');
        await stage.driver.reboot(spec.id, 'hard', spec.nics);
        await under.inside?.up(spec.id);
        if (under.inside?.disk) expect(await under.inside.disk.read(spec.id, 0)).toBe('D');
        expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'settled', mark: back.mark });
        await gone(spec.id);
      },
      other,
    );

    stage.behaviour(
      'liveMigration',
      'takes a guest that switches itself off before it is accepted, with its newest disk',
      async () => {
        const spec = await stage.up();
        await under.inside?.disk?.write(spec.id, 0, 'O');
        const ticket = await invited(spec);
        await here().send(spec.id, ticket, { signal: never });
        await under.inside!.switchOff(spec.id);
        for (let i = 0; i < 2; i++) await there().accept(spec.id);
        await expect
          .poll(() => target.inspect(spec.id))
          .toMatchObject({ stage: 'settled', power: 'shutdown', mark: elsewhere(spec).mark });
        await stage.discard(spec.id);
        await target.powerOn(spec.id, elsewhere(spec).nics);
        await under.inside!.up(spec.id);
        if (under.inside?.disk) expect(await under.inside.disk.read(spec.id, 0)).toBe('O');
        await gone(spec.id);
      },
      {
        ...other,
        'a way to talk to guests': under.inside,
        'guests that run before they are accepted': under.otherHost?.runsBeforeAccepted !== false,
      },
    );

    stage.behaviour(
      'liveMigration',
      'leaves shared disks where they are',
      async () => {
        const { here: from, there: to } = await under.otherHost!.shared!();
        const spec = await stage.spec({}, true);
        const { serverId: id } = spec.mark;
        await from.spawn(spec, never);
        await under.inside?.up(id);
        await under.inside?.memory?.write(id, 'S');
        await under.inside?.disk?.write(id, 0, 'T');
        const shell = elsewhere(spec);
        const offer = await from.liveMigration!.offer(id);
        const ticket = await to.liveMigration!.receive(shell, offer, { disks: 'shared', attached: [] }, never);
        await from.liveMigration!.send(id, ticket, { signal: never });
        await to.liveMigration!.accept(id);
        await from.destroy(id);
        if (under.inside?.memory) expect(await under.inside.memory.read(id)).toBe('S');
        await to.reboot(id, 'hard', shell.nics);
        await under.inside?.up(id);
        if (under.inside?.disk) expect(await under.inside.disk.read(id, 0)).toBe('T');
        await to.destroy(id);
        for (const driver of [from, to]) await driver.close();
        expect(await under.otherHost!.leftovers(id)).toEqual([]);
        await stage.discard(id);
        await stage.leavesNothing(id);
      },
      { ...other, 'storage that both hosts have': under.otherHost?.shared },
    );

    stage.behaviour(
      'liveMigration.copied',
      'brings the disks along to a host that does not have them, also when it may choose',
      async () => {
        const spec = await stage.up();
        await under.inside?.disk?.write(spec.id, 0, 'K');
        const ticket = await there().receive(
          elsewhere(spec),
          await here().offer(spec.mark.serverId),
          { disks: 'auto', attached: [] },
          never,
        );
        await here().send(spec.id, ticket, { signal: never });
        await there().accept(spec.id);
        await stage.discard(spec.id);
        await target.reboot(spec.id, 'hard', elsewhere(spec).nics);
        await under.inside?.up(spec.id);
        if (under.inside?.disk) expect(await under.inside.disk.read(spec.id, 0)).toBe('K');
        await gone(spec.id);
      },
      other,
    );

    stage.behaviour(
      'liveMigration',
      'tells by the same names what both hosts have',
      async () => {
        const { here: from, there: to } = await under.otherHost!.shared!();
        const [one, two] = [await from.liveMigration!.reach(), await to.liveMigration!.reach()];
        if (one.storage !== null) expect(two.sees).toContain(one.storage);
        expect([two.realm, two.pool]).toEqual([one.realm, one.pool]);
        for (const driver of [from, to]) await driver.close();
      },
      { ...other, 'storage that both hosts have': under.otherHost?.shared },
    );

    stage.behaviour(
      'liveMigration',
      'leaves the guest where it was when it is aborted, and can be tried again',
      async () => {
        const spec = await stage.up();
        await under.inside?.memory?.write(spec.id, 'A');
        for (const after of [null, 0, 10]) {
          const ticket = await invited(spec);
          const abort = new AbortController();
          if (after === null) abort.abort();
          else setTimeout(() => abort.abort(), after);
          const sent = await here()
            .send(spec.id, ticket, { signal: abort.signal })
            .then(
              () => 'sent',
              (error: unknown) => (error instanceof HypervisorError ? 'aborted' : 'another error'),
            );
          // An abort that comes too late leaves the guest on the target.
          if (sent === 'sent') break;
          expect(sent).toBe('aborted');
          expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running' });
          if (under.inside?.memory) expect(await under.inside.memory.read(spec.id)).toBe('A');
          for (let i = 0; i < 2; i++) await there().cancel(spec.id);
          expect(await under.otherHost!.leftovers(spec.id)).toEqual([]);
        }
        await gone(spec.id);
      },
      other,
    );

    stage.behaviour(
      'liveMigration.forced',
      'runs on one side when it is forced to its end, whatever that is',
      async () => {
        const spec = await stage.up();
        await under.inside?.memory?.write(spec.id, 'F');
        const abort = new AbortController();
        const force = AbortSignal.abort();
        const refused = here().send(spec.id, 'no ticket at all', { signal: never, force });
        expect(['fault', 'unavailable']).toContain(await refusal(refused));
        const given = await invited(spec);
        const sent = here()
          .send(spec.id, given, { signal: abort.signal, force })
          .then(
            () => true,
            () => false,
          );
        abort.abort();
        if (!(await sent)) {
          expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running' });
          if (under.inside?.memory) expect(await under.inside.memory.read(spec.id)).toBe('F');
          await here().send(spec.id, await invited(spec), { signal: never, force });
        }
        await there().accept(spec.id);
        expect(await target.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running' });
        await stage.discard(spec.id);
        if (under.inside?.memory) expect(await under.inside.memory.read(spec.id)).toBe('F');
        await gone(spec.id);
      },
      other,
    );

    stage.behaviour(
      'liveMigration',
      'needs the newest ticket, and goes nowhere with any other',
      async () => {
        const spec = await stage.up();
        const old = await invited(spec);
        await invited(spec);
        const older = under.otherHost!.voidsTickets === false ? [] : [old];
        for (const ticket of [...older, '{}', 'no ticket at all'])
          expect(['fault', 'unavailable']).toContain(await refusal(here().send(spec.id, ticket, { signal: never })));
        expect(await refusal(there().accept(spec.id))).toBe('fault');
        expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running' });
        await gone(spec.id);
      },
      other,
    );

    stage.behaviour(
      'liveMigration',
      'leaves the guest alone when the host that expects it gives it up',
      async () => {
        const spec = await stage.up();
        await invited(spec);
        await target.destroy(spec.id);
        expect(await under.otherHost!.leftovers(spec.id)).toEqual([]);
        expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running' });
        await gone(spec.id);
      },
      other,
    );

    stage.behaviour(
      'liveMigration',
      'is refused of a guest that is off, and into a host that cannot carry it',
      async () => {
        const spec = await stage.up();
        const offer = await here().offer(spec.id);
        const big = { ...elsewhere(spec), flavor: (await under.tooBig(spec.id)).flavor };
        await refusal(there().receive(big, offer, options, never));
        await refusal(there().receive(elsewhere(spec), 'no offer', options, never));
        expect(await under.otherHost!.leftovers(spec.id)).toEqual([]);
        await stage.driver.powerOff(spec.id, ms(0));
        expect(await refusal(here().offer(spec.id))).toBe('fault');
        await gone(spec.id);
      },
      other,
    );

    stage.behaviour(
      'liveMigration',
      'is survived by agents that end in the middle, with the guest on one side only',
      async () => {
        const spec = await stage.up();
        await under.inside?.memory?.write(spec.id, 'R');
        const ticket = await invited(spec);
        await target.close();
        target = await under.otherHost!.open();
        const sent = here()
          .send(spec.id, ticket, { signal: never })
          .catch(() => undefined);
        await stage.restart();
        await sent;
        if ((await stage.stage(spec.id)) !== 'moved') {
          await here().recover(spec.id);
          await stage.reaches(spec.id, 'running');
          if (under.inside?.memory) expect(await under.inside.memory.read(spec.id)).toBe('R');
          // Its memory may have come all the same.
          await there()
            .cancel(spec.id)
            .catch(() => target.destroy(spec.id));
        } else await there().accept(spec.id);
        await gone(spec.id);
      },
      other,
    );
  });

export const describeAdoption = (stage: Stage) =>
  describe('adoption', () => {
    const { under } = stage;
    const hook = { 'a guest of somebody else that can be adopted': under.adoptable };

    stage.behaviour(
      'adoption',
      'makes a guest of somebody else ours without a restart, and gives it back',
      async () => {
        const foreign = await under.adoptable!();
        const { mark } = await stage.spec();
        const { serverId: id } = mark;
        const adoption = () => stage.driver.adoption!;
        const candidates = async () => (await adoption().candidates()).map(({ nativeId }) => nativeId);
        expect(await candidates()).toContain(foreign.nativeId);
        for (let i = 0; i < 2; i++) await adoption().adopt(foreign.nativeId, mark, foreign.nics);
        expect(await stage.driver.inspect(id)).toMatchObject({ mark, stage: 'settled', power: 'running' });
        expect(await candidates()).not.toContain(foreign.nativeId);
        if (foreign.guarded) expect(await foreign.guarded()).toBe(true);
        await stage.restart();
        expect(await stage.find(id)).toMatchObject({ mark, power: 'running' });
        for (let i = 0; i < 2; i++) await adoption().release(id);
        expect(await stage.find(id)).toBeUndefined();
        expect(await candidates()).toContain(foreign.nativeId);
        expect(await foreign.untouched()).toBe(true);
        await foreign.remove();
      },
      hook,
    );

    stage.behaviour(
      'adoption',
      'makes it a guest that goes off and on like any other',
      async () => {
        const foreign = await under.adoptable!();
        const { mark } = await stage.spec();
        const { serverId: id } = mark;
        await stage.driver.adoption!.adopt(foreign.nativeId, mark, foreign.nics);
        await stage.driver.powerOff(id, ms(0));
        expect(await stage.power(id)).toBe('shutdown');
        await stage.driver.powerOn(id, foreign.nics);
        expect(await stage.power(id)).toBe('running');
        await stage.driver.reboot(id, 'hard', foreign.nics);
        expect(await stage.power(id)).toBe('running');
        await stage.discard(id);
        await stage.leavesNothing(id);
        await foreign.remove();
      },
      hook,
    );

    stage.behaviour(
      'adoption',
      'is refused of what is not there or already ours',
      async () => {
        const foreign = await under.adoptable!();
        const ours = await stage.running();
        const { mark } = await stage.spec();
        const adopt = (nativeId: string, as = mark) => stage.driver.adoption!.adopt(nativeId, as, foreign.nics);
        expect(await refusal(adopt('no such guest'))).toBe('fault');
        expect(await refusal(adopt(foreign.nativeId, ours.mark))).toBe('fault');
        expect(await stage.power(ours.id)).toBe('running');
        expect(await foreign.untouched()).toBe(true);
        await stage.discard(ours.id);
        await foreign.remove();
      },
      hook,
    );
  });
