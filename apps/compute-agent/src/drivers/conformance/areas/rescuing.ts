import { ms } from '@omnivisor/contracts';
import { describe, expect } from 'vitest';
import type { GuestSpec } from '../../hypervisor-driver.js';
import { never, refusal, type Stage } from '../stage.js';

export const describeRescuing = (stage: Stage) =>
  describe('rescuing', () => {
    const { under } = stage;
    const disk = { 'a test guest with disks': under.inside?.disk };
    const rescue = (spec: GuestSpec, signal = never) => stage.driver.rescuing!.rescue(spec, signal);
    const unrescue = (spec: GuestSpec) => stage.driver.rescuing!.unrescue(spec.mark.serverId, spec.nics);

    stage.behaviour('rescuing', 'boots the rescue image and goes back, and twice is once', async () => {
      const spec = await stage.running();
      for (let i = 0; i < 2; i++) await rescue(spec);
      const rescued = { stage: 'rescued', power: 'running', mark: spec.mark };
      expect(await stage.driver.inspect(spec.id)).toMatchObject(rescued);
      await stage.restart();
      expect(await stage.driver.inspect(spec.id)).toMatchObject(rescued);
      for (let i = 0; i < 2; i++) await unrescue(spec);
      expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running' });
      await stage.discard(spec.id);
      await stage.leavesNothing(spec.id);
    });

    stage.behaviour(
      'rescuing',
      "shows the guest's own root as second disk, and what is written there stays",
      async () => {
        const spec = await stage.up();
        await under.inside!.disk!.write(spec.id, 0, 'A');
        await rescue(spec);
        await under.inside!.up(spec.id);
        expect(await under.inside!.disk!.read(spec.id, 0)).not.toBe('A');
        expect(await under.inside!.disk!.read(spec.id, 1)).toBe('A');
        await under.inside!.disk!.write(spec.id, 0, 'X');
        await under.inside!.disk!.write(spec.id, 1, 'B');
        await unrescue(spec);
        await under.inside!.up(spec.id);
        expect(await under.inside!.disk!.read(spec.id, 0)).toBe('B');
        await stage.discard(spec.id);
      },
      disk,
    );

    stage.behaviour('rescuing', 'stays rescued over power cycles', async () => {
      const spec = await stage.running();
      await rescue(spec);
      await stage.driver.powerOff(spec.id, ms(0));
      await stage.driver.powerOn(spec.id, spec.nics);
      expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'rescued', power: 'running' });
      await stage.driver.reboot(spec.id, 'hard', spec.nics);
      expect(await stage.stage(spec.id)).toBe('rescued');
      await stage.discard(spec.id);
      await stage.leavesNothing(spec.id);
    });

    stage.behaviour('rescuing', 'takes a guest that is off, and leaves it running', async () => {
      const spec = await stage.off();
      await unrescue(spec);
      expect(await stage.power(spec.id)).toBe('shutdown');
      await rescue(spec);
      expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'rescued', power: 'running' });
      await stage.discard(spec.id);
    });

    stage.behaviour('rescuing', 'leaves the guest as it was when it is aborted', async () => {
      const spec = await stage.running();
      await refusal(rescue(spec, AbortSignal.abort()));
      expect(await stage.stage(spec.id)).toBe('settled');
      await stage.driver.powerOn(spec.id, spec.nics);
      expect(await stage.power(spec.id)).toBe('running');
      await stage.discard(spec.id);
      await stage.leavesNothing(spec.id);
    });
  });
