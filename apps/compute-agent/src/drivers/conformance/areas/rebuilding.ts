import { ms } from '@omnivisor/contracts';
import { describe, expect } from 'vitest';
import { withoutBytes } from '../../common/test-guest.js';
import type { GuestSpec } from '../../hypervisor-driver.js';
import { never, refusal, type Stage } from '../stage.js';

const again = <S extends GuestSpec>(spec: S, build = spec.mark.build + 1): S => ({
  ...spec,
  mark: { ...spec.mark, build },
});

export const describeRebuilding = (stage: Stage) =>
  describe('rebuilding', () => {
    const { under } = stage;
    const disk = { 'a test guest with a disk': under.inside?.disk };
    const rebuild = (spec: GuestSpec, signal = never) => stage.driver.rebuilding!.rebuild(spec, signal);

    stage.behaviour('rebuilding', 'leaves the guest running with its new build, and twice is once', async () => {
      const spec = await stage.running();
      const next = again(spec);
      await rebuild(next);
      expect(await stage.driver.inspect(spec.id)).toMatchObject({
        mark: next.mark,
        stage: 'settled',
        power: 'running',
      });
      await stage.driver.powerOff(spec.id, ms(0));
      await rebuild(next);
      expect(await stage.power(spec.id)).toBe('shutdown');
      await stage.discard(spec.id);
      await stage.leavesNothing(spec.id);
    });

    stage.behaviour(
      'rebuilding',
      'gives it new disks, whatever its power, and another agent sees the same',
      async () => {
        const spec = await stage.up();
        await under.inside!.disk!.write(spec.id, 0, 'A');
        await rebuild(again(spec, 3));
        await under.inside!.up(spec.id);
        expect(await under.inside!.disk!.read(spec.id, 0)).not.toBe('A');
        await under.inside!.disk!.write(spec.id, 0, 'B');
        await stage.driver.powerOff(spec.id, ms(0));
        await rebuild(again(spec, 4));
        await under.inside!.up(spec.id);
        expect(await under.inside!.disk!.read(spec.id, 0)).not.toBe('B');
        await stage.restart();
        expect((await stage.driver.inspect(spec.id)).mark.build).toBe(4);
        await stage.discard(spec.id);
      },
      disk,
    );

    stage.behaviour('rebuilding', 'leaves it off when told so', async () => {
      const spec = await stage.running();
      await rebuild({ ...again(spec), powerOn: false });
      expect(await stage.driver.inspect(spec.id)).toMatchObject({ power: 'shutdown', mark: { build: 1 } });
      await stage.driver.powerOn(spec.id, spec.nics);
      expect(await stage.power(spec.id)).toBe('running');
      await stage.discard(spec.id);
    });

    stage.behaviour('rebuilding', 'refuses an older build and another attempt', async () => {
      const spec = await stage.off();
      await rebuild({ ...again(spec, 2), powerOn: false });
      expect(await refusal(rebuild(again(spec, 1)))).toBe('fault');
      const other = { ...again(spec, 3), mark: { ...spec.mark, build: 3, attempt: spec.mark.attempt + 1 } };
      expect(await refusal(rebuild(other))).toBe('fault');
      expect((await stage.driver.inspect(spec.id)).mark).toEqual({ ...spec.mark, build: 2 });
      await stage.discard(spec.id);
    });

    stage.behaviour(
      'rebuilding',
      'leaves the guest with its old disk when the image cannot be had, or it is aborted',
      async () => {
        const spec = await stage.up();
        await under.inside!.disk!.write(spec.id, 0, 'A');
        if (under.backend !== 'fake') expect(await refusal(rebuild(withoutBytes(again(spec))))).toBe('unavailable');
        await refusal(rebuild(again(spec), AbortSignal.abort()));
        expect(await stage.driver.inspect(spec.id)).toMatchObject({ mark: spec.mark, stage: 'settled' });
        await stage.driver.reboot(spec.id, 'hard', spec.nics);
        await under.inside!.up(spec.id);
        expect(await under.inside!.disk!.read(spec.id, 0)).toBe('A');
        await stage.discard(spec.id);
        await stage.leavesNothing(spec.id);
      },
      disk,
    );
  });
