import { ms } from '@omnivisor/contracts';
import { describe, expect } from 'vitest';
import { refusal, type Stage } from '../stage.js';

export const describeSuspending = (stage: Stage) =>
  describe('suspending', () => {
    const { under } = stage;
    const memory = { 'a test guest with memory': under.inside?.memory };
    const suspended = async () => {
      const spec = await stage.up();
      await stage.driver.suspending!.suspend(spec.id);
      return spec;
    };

    stage.behaviour('suspending', 'saves the guest and lets it go on, and twice is once', async () => {
      const spec = await suspended();
      const { suspend, resume } = stage.driver.suspending!;
      await suspend(spec.id);
      expect(await stage.driver.inspect(spec.id)).toMatchObject({ power: 'suspended', mark: spec.mark });
      for (let i = 0; i < 2; i++) await resume(spec.id, spec.nics);
      expect(await stage.power(spec.id)).toBe('running');
      await stage.discard(spec.id);
      await stage.leavesNothing(spec.id);
    });

    stage.behaviour(
      'suspending',
      'keeps memory and disk, also while no agent is there, and more than once',
      async () => {
        const spec = await stage.up();
        for (const letter of ['S', 'T']) {
          await under.inside!.memory!.write(spec.id, letter);
          await under.inside!.disk?.write(spec.id, 0, letter);
          await stage.driver.suspending!.suspend(spec.id);
          await stage.restart();
          expect(await stage.power(spec.id)).toBe('suspended');
          await stage.driver.suspending!.resume(spec.id, spec.nics);
          expect(await under.inside!.memory!.read(spec.id)).toBe(letter);
          if (under.inside!.disk) expect(await under.inside!.disk.read(spec.id, 0)).toBe(letter);
        }
        await stage.discard(spec.id);
      },
      memory,
    );

    stage.behaviour('suspending', 'takes a paused guest, which runs when it is resumed', async () => {
      const spec = await stage.up();
      await stage.driver.pausing?.pause(spec.id);
      await stage.driver.suspending!.suspend(spec.id);
      await stage.driver.suspending!.resume(spec.id, spec.nics);
      expect(await stage.power(spec.id)).toBe('running');
      await stage.discard(spec.id);
    });

    stage.behaviour('suspending', 'is refused of a guest that is off, and so is resuming it', async () => {
      const spec = await stage.off();
      expect(await refusal(stage.driver.suspending!.suspend(spec.id))).toBe('fault');
      expect(await refusal(stage.driver.suspending!.resume(spec.id, spec.nics))).toBe('fault');
      expect(await stage.power(spec.id)).toBe('shutdown');
      await stage.discard(spec.id);
    });

    stage.behaviour('suspending', 'is not undone by switching on, which would lose the memory', async () => {
      const spec = await suspended();
      expect(await refusal(stage.driver.powerOn(spec.id, spec.nics))).toBe('fault');
      expect(await stage.power(spec.id)).toBe('suspended');
      await stage.discard(spec.id);
    });

    stage.behaviour('suspending', 'is given up by switching off, by a hard reboot and by destroying', async () => {
      const off = await suspended();
      await stage.driver.powerOff(off.id, ms(200));
      expect(await stage.power(off.id)).toBe('shutdown');
      await stage.driver.powerOn(off.id, off.nics);
      await under.inside?.up(off.id);
      await stage.driver.suspending!.suspend(off.id);
      await stage.driver.reboot(off.id, 'hard', off.nics);
      expect(await stage.power(off.id)).toBe('running');
      await under.inside?.up(off.id);
      await stage.driver.suspending!.suspend(off.id);
      await stage.discard(off.id);
      await stage.leavesNothing(off.id);
    });
  });
