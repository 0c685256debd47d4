import type { Feature, ServerId } from '@omnivisor/contracts';
import { describe, expect } from 'vitest';
import { type GuestSpec, HypervisorError } from '../../hypervisor-driver.js';
import type { Change, Devices } from '../driver-under-test.js';
import { perform, sizes, twice } from '../perform.js';
import { never, newId, type Stage } from '../stage.js';

interface Course {
  /** Changes before the one that is cut off. */
  readonly before?: readonly Change[];
  /** The change is one of a guest that is off. */
  readonly off?: true;
  /** The optional member that it needs. */
  readonly needs?: Feature;
  /** What it plugs or unplugs. */
  readonly plugs?: keyof Devices;
  /** What the guest is when a new agent has asked for the change again; null: gone. */
  readonly expected: Readonly<Record<string, unknown>> | null;
  /** It has the new flavor then, and not its own. */
  readonly isLarger?: true;
  /** It has what it was plugged with then. */
  readonly isPlugged?: boolean;
  /** What is on its root is at stake: it stays, or all of it goes. */
  readonly root?: 'stays' | 'goes';
}

/** A guest of a course, and what was written to its root. */
interface Made {
  readonly id: ServerId;
  readonly spec: GuestSpec;
  readonly devices: Devices;
  readonly letter: string | null;
}

const settled = (power: string) => ({ stage: 'settled', power });

const COURSES: Readonly<Record<Change, Course>> = {
  spawn: { expected: settled('running') },
  powerOff: { expected: settled('shutdown') },
  powerOn: { before: ['powerOff'], expected: settled('running') },
  reboot: { expected: settled('running') },
  pause: { needs: 'pausing', expected: settled('paused') },
  unpause: { needs: 'pausing', before: ['pause'], expected: settled('running') },
  suspend: { needs: 'suspending', expected: settled('suspended') },
  resume: { needs: 'suspending', before: ['suspend'], expected: settled('running') },
  rebuild: { needs: 'rebuilding', expected: { ...settled('running'), mark: { build: 1 } }, root: 'goes' },
  rescue: { needs: 'rescuing', expected: { stage: 'rescued', power: 'running' }, root: 'stays' },
  unrescue: { needs: 'rescuing', before: ['rescue'], expected: settled('running'), root: 'stays' },
  resize: {
    ...{ needs: 'resizing', before: ['powerOff'], off: true, expected: { stage: 'resized', power: 'shutdown' } },
    ...{ isLarger: true, root: 'stays' },
  },
  confirmResize: {
    ...{ needs: 'resizing', before: ['powerOff', 'resize'], off: true, expected: settled('shutdown') },
    ...{ isLarger: true, root: 'stays' },
  },
  revertResize: {
    ...{ needs: 'resizing', before: ['powerOff', 'resize'], off: true, expected: settled('shutdown') },
    root: 'stays',
  },
  attachDisk: { needs: 'disks', plugs: 'disk', expected: settled('running'), isPlugged: true },
  detachDisk: {
    needs: 'disks',
    plugs: 'disk',
    before: ['powerOff', 'attachDisk'],
    off: true,
    expected: settled('shutdown'),
  },
  attachNic: { needs: 'nics', plugs: 'nic', expected: settled('running'), isPlugged: true },
  detachNic: {
    needs: 'nics',
    plugs: 'nic',
    before: ['powerOff', 'attachNic'],
    off: true,
    expected: settled('shutdown'),
  },
  destroy: { expected: null },
};

/** Milliseconds that a backend may go on with what the agent that ended had asked for. */
const STILL_BUSY = 15_000;

/** An agent tries again what its backend cannot do now: it may still be in the middle of what the one before asked for. */
const persistently = async (ask: () => Promise<void>): Promise<void> => {
  const until = Date.now() + STILL_BUSY;
  for (;;)
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof HypervisorError) || error.code !== 'unavailable' || Date.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
};

/**
 * Milliseconds from the start of the change to the death of the agent; the last one comes too late for most changes.
 * After every other one the change is never asked for again, and the guest has to be of use all the same.
 */
const TIMES = [0, 25, 70, 180].map((moment, i) => ({ moment, isForgotten: i % 2 === 1 }));

export const describeRecovery = (stage: Stage) =>
  describe('an agent that ends', () => {
    const { under } = stage;
    const looksAtRoots = under.supports.includes('snapshots') && under.letterOf && under.inside?.disk;
    const counts = under.supports.includes('statistics');
    const isSlow = under.crashesAreSampled === true;

    /** The guest is what the course makes of it, by all that its driver tells; where guests are slow none is started for it. */
    const holds = async ({ off, expected, isLarger, isPlugged = false, plugs, root }: Course, made: Made) => {
      const { id, spec, devices, letter } = made;
      const flavor = isLarger ? twice(spec.flavor) : spec.flavor;
      expect(await stage.driver.inspect(id)).toMatchObject({ ...sizes(flavor), ...expected });
      if (letter) expect((await stage.rootLetter(id)) === letter).toBe(root === 'stays');
      if (!plugs || !counts || (off && isSlow)) return;
      if (off) await stage.driver.powerOn(id, spec.nics);
      const { nics, disks } = await stage.driver.statistics!.read(id);
      const plugged = [...nics.map(({ portId }) => portId), ...disks.map(({ disk }) => disk)];
      expect(plugged.includes((devices.nic?.portId ?? devices.disk?.diskId)!)).toBe(isPlugged);
    };

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

    for (const [change, course] of Object.entries(COURSES) as [Change, Course][])
      stage.behaviour(
        'recovery',
        `in the middle of ${change} leaves what can be gone on with`,
        async () => {
          const isThere = change !== 'spawn' && change !== 'destroy';
          let cut = 0;
          let isWhole = false;
          const ways = isThere && !isSlow ? [false, true] : [false];
          const counted = under.crashMoments?.flatMap((moment) => ways.map((isForgotten) => ({ moment, isForgotten })));
          for (const { moment, isForgotten } of counted ?? TIMES) {
            const id: ServerId = newId();
            stage.own(id);
            const { guest, quietGuest = guest } = under;
            const letter = course.root && looksAtRoots && !isSlow ? 'A' : null;
            const spec = await (course.needs === 'suspending' || letter ? guest : quietGuest)(id);
            const made = course.plugs === 'disk' ? await under.disk!() : null;
            const devices: Devices = {
              ...(made ? { disk: made.disk } : {}),
              ...(course.plugs === 'nic' ? { nic: await under.nic!(id) } : {}),
            };
            const ask = (asked: Change) => perform(stage.driver, asked, spec, devices);
            if (change !== 'spawn') await stage.driver.spawn(spec, never);
            if (letter) {
              await under.inside!.up(id);
              await under.inside!.disk!.write(id, 0, letter);
            }
            for (const before of course.before ?? []) await ask(before);
            let isCut = false;
            await stage.restart(async () => {
              isCut = await under.crashDuring!(change, id, moment, devices);
            });
            if (isCut) cut++;
            // It makes no more calls than those that were tried.
            else if (counted) {
              isWhole = true;
              await stage.discard(id);
              await made?.remove();
              break;
            }
            await stage.driver.list();
            if (isForgotten && isThere) {
              await persistently(() => ask('reboot'));
              expect(await stage.power(id)).toBe('running');
              if (course.off) await ask('powerOff');
              if (change === 'resume') await ask('suspend');
            }
            await persistently(() => ask(change));
            if (course.expected) await holds(course, { id, spec, devices, letter });
            await stage.discard(id);
            await stage.leavesNothing(id);
            if (!made) continue;
            expect(await made.exists()).toBe(true);
            await made.remove();
          }
          expect(cut).toBeGreaterThan(0);
          if (counted && !isSlow) expect(isWhole).toBe(true);
        },
        {
          'an agent in a process of its own': under.crashDuring,
          ...(course.plugs ? { [`a ${course.plugs} to attach`]: under[course.plugs] } : {}),
          ...(course.needs ? { [`a backend with ${course.needs}`]: under.supports.includes(course.needs) } : {}),
        },
      );
  });
