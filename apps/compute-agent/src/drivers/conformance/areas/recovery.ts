import { ms, type ServerId } from '@omnivisor/contracts';
import { describe, expect } from 'vitest';
import type { GuestSpec } from '../../hypervisor-driver.js';
import type { Change } from '../driver-under-test.js';
import { never, newId, type Stage } from '../stage.js';

interface Course {
  /** Before the change that is cut off. */
  readonly before?: (spec: GuestSpec) => Promise<unknown>;
  /** The change is one of a guest that is off. */
  readonly off?: true;
  /** The change again, as a new agent asks for it. */
  readonly again: (spec: GuestSpec) => Promise<unknown>;
  readonly expected: Readonly<Record<string, unknown>> | null;
}

/** How each change is begun, and what the guest is when a new agent has asked for it again. */
const courses = (stage: Stage): Partial<Record<Change, Course>> => {
  const { under } = stage;
  const at = (spec: GuestSpec) => spec.mark.serverId;
  const rebuilt = (spec: GuestSpec) => ({ ...spec, mark: { ...spec.mark, build: 1 } });
  const off = (spec: GuestSpec) => stage.driver.powerOff(at(spec), ms(0));
  const resize = (spec: GuestSpec) => stage.driver.resizing!.resize(at(spec), under.bigger(spec.flavor), never);
  const settled = (power: string) => ({ stage: 'settled', power });
  return {
    spawn: { again: (spec) => stage.driver.spawn(spec, never), expected: settled('running') },
    powerOff: { again: off, expected: settled('shutdown') },
    powerOn: { before: off, again: (spec) => stage.driver.powerOn(at(spec), spec.nics), expected: settled('running') },
    reboot: { again: (spec) => stage.driver.reboot(at(spec), 'hard', spec.nics), expected: settled('running') },
    destroy: { again: (spec) => stage.driver.destroy(at(spec)), expected: null },
    ...(stage.driver.suspending && {
      suspend: { again: (spec) => stage.driver.suspending!.suspend(at(spec)), expected: settled('suspended') },
      resume: {
        before: (spec) => stage.driver.suspending!.suspend(at(spec)),
        again: (spec) => stage.driver.suspending!.resume(at(spec), spec.nics),
        expected: settled('running'),
      },
    }),
    ...(stage.driver.rebuilding && {
      rebuild: {
        again: (spec) => stage.driver.rebuilding!.rebuild(rebuilt(spec), never),
        expected: { ...settled('running'), mark: { build: 1 } },
      },
    }),
    ...(stage.driver.rescuing && {
      rescue: {
        again: (spec) => stage.driver.rescuing!.rescue(spec, never),
        expected: { stage: 'rescued', power: 'running' },
      },
      unrescue: {
        before: (spec) => stage.driver.rescuing!.rescue(spec, never),
        again: (spec) => stage.driver.rescuing!.unrescue(at(spec), spec.nics),
        expected: settled('running'),
      },
    }),
    ...(stage.driver.resizing && {
      resize: { before: off, off: true, again: resize, expected: { stage: 'resized', power: 'shutdown' } },
      confirmResize: {
        before: async (spec) => {
          await off(spec);
          await resize(spec);
        },
        off: true,
        again: (spec) => stage.driver.resizing!.confirmResize(at(spec)),
        expected: settled('shutdown'),
      },
      revertResize: {
        before: async (spec) => {
          await off(spec);
          await resize(spec);
        },
        off: true,
        again: (spec) => stage.driver.resizing!.revertResize(at(spec)),
        expected: settled('shutdown'),
      },
    }),
  };
};

/** Milliseconds from the start of the change to the death of the agent; the last one comes too late for most changes. */
const MOMENTS = [0, 20, 60, 120, 250];

export const describeRecovery = (stage: Stage) =>
  describe('an agent that ends', () => {
    const { under } = stage;

    stage.behaviour('recovery', 'finds its guests again, running and off, and goes on with them', async () => {
      const on = await stage.running();
      const off = await stage.off();
      await stage.restart();
      expect(await stage.find(on.id)).toMatchObject({ power: 'running', mark: on.mark });
      expect(await stage.find(off.id)).toMatchObject({ power: 'shutdown', mark: off.mark });
      await stage.driver.spawn(on, never);
      await stage.driver.powerOn(off.id, off.nics);
      expect(await stage.power(off.id)).toBe('running');
      for (const { id } of [on, off]) await stage.discard(id);
    });

    stage.behaviour(
      'recovery',
      'sees what happened meanwhile',
      async () => {
        const { id } = await stage.up();
        await stage.restart(() => under.inside!.switchOff(id));
        await stage.reaches(id, 'shutdown');
        await stage.discard(id);
      },
      { 'a test guest that can be talked to': under.inside },
    );

    const changes: readonly Change[] = [
      'spawn',
      'powerOff',
      'powerOn',
      'reboot',
      'suspend',
      'resume',
      'rebuild',
      'rescue',
      'unrescue',
      'resize',
      'confirmResize',
      'revertResize',
      'destroy',
    ];
    for (const change of changes)
      stage.behaviour(
        'recovery',
        `in the middle of ${change} leaves what can be gone on with`,
        async () => {
          const course = courses(stage)[change];
          if (!course) return;
          let cut = 0;
          for (const [i, moment] of MOMENTS.entries()) {
            const id: ServerId = newId();
            stage.own(id);
            const spec = await under.guest(id);
            if (change !== 'spawn') await stage.driver.spawn(spec, never);
            await course.before?.(spec);
            await stage.restart(async () => {
              if (await under.crashDuring!(change, id, ms(moment))) cut++;
            });
            await stage.driver.list();
            // The change may also never be asked for again, and the guest has to be of use all the same.
            if (i % 2 === 1 && change !== 'spawn' && change !== 'destroy') {
              await stage.driver.reboot(id, 'hard', spec.nics);
              expect(await stage.power(id)).toBe('running');
              if (course.off) await stage.driver.powerOff(id, ms(0));
              if (change === 'resume') await stage.driver.suspending!.suspend(id);
            }
            await course.again(spec);
            if (course.expected) expect(await stage.driver.inspect(id)).toMatchObject(course.expected);
            await stage.discard(id);
            await stage.leavesNothing(id);
          }
          expect(cut).toBeGreaterThan(0);
        },
        { 'an agent in a process of its own': under.crashDuring },
      );
  });
