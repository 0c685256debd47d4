import { ms } from '@omnivisor/contracts';
import { describe, expect } from 'vitest';
import { refusal, type Stage } from '../stage.js';

export const describePower = (stage: Stage): void => {
  const { under } = stage;
  const inside = { 'a test guest that can be talked to': under.inside };

  describe('power', () => {
    stage.behaviour('power', 'goes off by the guest when it reacts in time, and twice is once', async () => {
      const { id } = await stage.up();
      const asked = performance.now();
      await stage.driver.powerOff(id, ms(stage.patience));
      expect(performance.now() - asked).toBeLessThan(stage.patience);
      expect(await stage.power(id)).toBe('shutdown');
      await stage.driver.powerOff(id, ms(stage.patience));
      expect(await stage.power(id)).toBe('shutdown');
      await stage.discard(id);
    });

    stage.behaviour('power', 'goes off at once without grace', async () => {
      const { id } = await stage.running();
      await stage.driver.powerOff(id, ms(0));
      expect(await stage.power(id)).toBe('shutdown');
      await stage.discard(id);
    });

    stage.behaviour(
      'power',
      'is cut when the guest lets the grace pass',
      async () => {
        const { id } = await stage.up();
        await under.inside!.ignorePowerButton!(id);
        await stage.driver.powerOff(id, ms(200));
        expect(await stage.power(id)).toBe('shutdown');
        await stage.discard(id);
      },
      { 'a test guest that ignores its power button': under.inside?.ignorePowerButton },
    );

    stage.behaviour(
      'power',
      'is not cut when the wait for the guest is given up',
      async () => {
        const { id, nics } = await stage.up();
        await under.inside!.ignorePowerButton!(id);
        for (const call of [
          (signal: AbortSignal) => stage.driver.powerOff(id, ms(stage.patience * 3), signal),
          (signal: AbortSignal) => stage.driver.reboot(id, 'soft', nics, signal),
        ]) {
          const abort = new AbortController();
          const refused = refusal(call(abort.signal));
          setTimeout(() => abort.abort(), 50);
          expect(await refused).toBe('fault');
          expect(await refusal(call(abort.signal))).toBe('fault');
          expect(await stage.power(id)).toBe('running');
        }
        await stage.discard(id);
      },
      { 'a test guest that ignores its power button': under.inside?.ignorePowerButton },
    );

    stage.behaviour('power', 'comes back on, and twice is once', async () => {
      const spec = await stage.running();
      await stage.driver.powerOff(spec.id, ms(0));
      await stage.driver.powerOn(spec.id, spec.nics);
      await stage.driver.powerOn(spec.id, spec.nics);
      const found = { power: 'running', mark: spec.mark, memory: spec.flavor.memory };
      expect(await stage.driver.inspect(spec.id)).toMatchObject(found);
      await stage.discard(spec.id);
    });

    stage.behaviour('power', 'is running after a reboot, hard or soft, also when it was off', async () => {
      const spec = await stage.up();
      await stage.driver.reboot(spec.id, 'hard', spec.nics);
      await stage.reaches(spec.id, 'running');
      await under.inside?.up(spec.id);
      await stage.driver.reboot(spec.id, 'soft', spec.nics);
      await stage.reaches(spec.id, 'running');
      await stage.driver.powerOff(spec.id, ms(0));
      await stage.driver.reboot(spec.id, 'hard', spec.nics);
      await stage.reaches(spec.id, 'running');
      await stage.discard(spec.id);
    });

    stage.behaviour(
      'power',
      'starts with empty memory and the disk as it was',
      async () => {
        const spec = await stage.up();
        await under.inside!.memory!.write(spec.id, 'A');
        await under.inside!.disk?.write(spec.id, 0, 'B');
        await stage.driver.reboot(spec.id, 'hard', spec.nics);
        await under.inside!.up(spec.id);
        expect(await under.inside!.memory!.read(spec.id)).not.toBe('A');
        if (under.inside!.disk) expect(await under.inside!.disk.read(spec.id, 0)).toBe('B');
        await stage.discard(spec.id);
      },
      { 'a test guest with memory': under.inside?.memory },
    );

    stage.behaviour(
      'power',
      'goes off by itself, and that is seen',
      async () => {
        const { id } = await stage.up();
        await under.inside!.switchOff(id);
        await stage.reaches(id, 'shutdown');
        await stage.discard(id);
      },
      inside,
    );
  });

  describe('pausing', () => {
    stage.behaviour('pausing', 'stops the guest and lets it go on, and twice is once', async () => {
      const { id } = await stage.running();
      const { pause, unpause } = stage.driver.pausing!;
      for (let i = 0; i < 2; i++) await pause(id);
      expect(await stage.power(id)).toBe('paused');
      for (let i = 0; i < 2; i++) await unpause(id);
      expect(await stage.power(id)).toBe('running');
      await stage.discard(id);
    });

    stage.behaviour(
      'pausing',
      'keeps the memory',
      async () => {
        const { id } = await stage.up();
        await under.inside!.memory!.write(id, 'P');
        await stage.driver.pausing!.pause(id);
        await stage.driver.pausing!.unpause(id);
        expect(await under.inside!.memory!.read(id)).toBe('P');
        await stage.discard(id);
      },
      { 'a test guest with memory': under.inside?.memory },
    );

    stage.behaviour('pausing', 'is refused of a guest that is off', async () => {
      const { id } = await stage.off();
      expect(await refusal(stage.driver.pausing!.pause(id))).toBe('fault');
      expect(await refusal(stage.driver.pausing!.unpause(id))).toBe('fault');
      await stage.discard(id);
    });

    stage.behaviour('pausing', 'does not keep the guest from going off or being removed', async () => {
      const { id } = await stage.running();
      await stage.driver.pausing!.pause(id);
      await stage.driver.powerOff(id, ms(200));
      expect(await stage.power(id)).toBe('shutdown');
      const other = await stage.running();
      await stage.driver.pausing!.pause(other.id);
      for (const guest of [id, other.id]) {
        await stage.discard(guest);
        await stage.leavesNothing(guest);
      }
    });

    stage.behaviour('crashDumps', 'interrupts a running guest, and is refused of one that is off', async () => {
      const spec = await stage.up();
      await stage.driver.crashDumps!.trigger(spec.id);
      if (under.inside?.memory)
        await expect.poll(() => under.inside!.memory!.read(spec.id), { timeout: stage.patience }).toBe('N');
      await stage.driver.powerOff(spec.id, ms(0));
      expect(await refusal(stage.driver.crashDumps!.trigger(spec.id))).toBe('fault');
      await stage.discard(spec.id);
    });
  });
};
