import { gib, mib, ms } from '@omnivisor/contracts';
import { describe, expect } from 'vitest';
import type { HypervisorError } from '../../hypervisor-driver.js';
import { sizes, twice } from '../perform.js';
import { never, refusal, type Stage } from '../stage.js';

export const describeResizing = (stage: Stage) =>
  describe('resizing', () => {
    const { under } = stage;
    const disk = { 'a test guest with a disk': under.inside?.disk };
    const resizing = () => stage.driver.resizing!;
    const resized = async () => {
      const spec = await stage.off();
      const flavor = twice(spec.flavor);
      await resizing().resize(spec.id, flavor, never);
      return { ...spec, before: spec.flavor, flavor };
    };

    stage.behaviour('resizing', 'gives the guest its new flavor, and twice is once', async () => {
      const spec = await resized();
      await resizing().resize(spec.id, spec.flavor, never);
      const found = { stage: 'resized', power: 'shutdown', mark: spec.mark, ...sizes(spec.flavor) };
      expect(await stage.driver.inspect(spec.id)).toMatchObject(found);
      await stage.restart();
      expect(await stage.driver.inspect(spec.id)).toMatchObject(found);
      await stage.driver.powerOn(spec.id, spec.nics);
      // An agent that was not heard asks again.
      await resizing().resize(spec.id, spec.flavor, never);
      expect(await stage.driver.inspect(spec.id)).toMatchObject({ power: 'running', stage: 'resized' });
      await stage.discard(spec.id);
      await stage.leavesNothing(spec.id);
    });

    stage.behaviour('resizing', 'keeps the new flavor once confirmed, also of a running guest', async () => {
      const spec = await resized();
      await stage.driver.powerOn(spec.id, spec.nics);
      for (let i = 0; i < 2; i++) await resizing().confirmResize(spec.id);
      await resizing().revertResize(spec.id);
      expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'settled', ...sizes(spec.flavor) });
      await stage.discard(spec.id);
    });

    stage.behaviour(
      'resizing',
      'goes back to flavor and disk from before, and twice is once',
      async () => {
        const spec = await stage.up();
        await under.inside!.disk!.write(spec.id, 0, 'A');
        await stage.driver.powerOff(spec.id, ms(0));
        await resizing().resize(spec.id, twice(spec.flavor), never);
        await stage.driver.powerOn(spec.id, spec.nics);
        await under.inside!.up(spec.id);
        expect(await under.inside!.disk!.read(spec.id, 0)).toBe('A');
        await under.inside!.disk!.write(spec.id, 0, 'B');
        expect(await refusal(resizing().revertResize(spec.id))).toBe('fault');
        await stage.driver.powerOff(spec.id, ms(0));
        for (let i = 0; i < 2; i++) await resizing().revertResize(spec.id);
        expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'settled', ...sizes(spec.flavor) });
        await resizing().confirmResize(spec.id);
        await stage.driver.powerOn(spec.id, spec.nics);
        await under.inside!.up(spec.id);
        expect(await under.inside!.disk!.read(spec.id, 0)).toBe('A');
        await stage.discard(spec.id);
      },
      disk,
    );

    stage.behaviour('resizing', 'refuses a running guest, and another flavor before the first is settled', async () => {
      const spec = await resized();
      expect(await refusal(resizing().resize(spec.id, spec.before, never))).toBe('fault');
      await resizing().confirmResize(spec.id);
      await stage.driver.powerOn(spec.id, spec.nics);
      expect(await refusal(resizing().resize(spec.id, spec.before, never))).toBe('fault');
      expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'settled', ...sizes(spec.flavor) });
      await stage.discard(spec.id);
    });

    stage.behaviour(
      'resizing',
      'refuses a smaller disk and what the host cannot carry, and changes nothing',
      async () => {
        const spec = await stage.off();
        const grown = { ...twice(spec.flavor), disk: gib(2) };
        await resizing().resize(spec.id, grown, never);
        await resizing().confirmResize(spec.id);
        expect(await refusal(resizing().resize(spec.id, { ...grown, disk: gib(1) }, never))).toBe('unsupported');
        const { flavor: tooBig } = await under.tooBig(spec.id);
        expect(await refusal(resizing().resize(spec.id, { ...tooBig, disk: gib(2) }, never))).toBe('noResources');
        await refusal(resizing().resize(spec.id, { ...grown, memory: mib(grown.memory + 1) }, AbortSignal.abort()));
        expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'settled', ...sizes(grown) });
        await stage.driver.powerOn(spec.id, spec.nics);
        expect(await stage.power(spec.id)).toBe('running');
        await stage.discard(spec.id);
        await stage.leavesNothing(spec.id);
      },
    );

    stage.behaviour('resizing', 'tells of a running guest what it would refuse, and lets it run', async () => {
      const spec = await stage.running();
      const { flavor: tooBig } = await under.tooBig(spec.id);
      expect(await refusal(resizing().checkResize(spec.id, tooBig))).toBe('noResources');
      const unknown = { ...spec.flavor, extraSpecs: { 'accel:device_profile': 'none-such' } };
      if (under.backend !== 'fake') expect(await refusal(resizing().checkResize(spec.id, unknown))).toBe('unsupported');
      await resizing().checkResize(spec.id, twice(spec.flavor));
      expect(await stage.driver.inspect(spec.id)).toMatchObject({
        ...{ stage: 'settled', power: 'running' },
        ...sizes(spec.flavor),
      });
      await stage.discard(spec.id);
    });

    stage.behaviour('resizing', 'makes the second disks that the new flavor has, or refuses it', async () => {
      const spec = await stage.off();
      const flavor = { ...spec.flavor, ephemeral: gib(1), swap: mib(64) };
      const answer = await resizing()
        .checkResize(spec.id, flavor)
        .then(
          () => null,
          (error: HypervisorError) => error.code,
        );
      if (answer !== null) {
        expect(answer).toBe('unsupported');
        expect(await refusal(resizing().resize(spec.id, flavor, never))).toBe('unsupported');
      } else {
        const second = async () => {
          const { stream, virtualSize } = await stage.driver.snapshots!.exportDisk(
            spec.id,
            'ephemeral',
            stage.driver.snapshots!.formats[0]!,
            never,
          );
          stream.destroy();
          return virtualSize;
        };
        await resizing().resize(spec.id, flavor, never);
        expect(await second()).toBe(2 ** 30);
        await stage.driver.powerOn(spec.id, spec.nics);
        await stage.driver.powerOff(spec.id, ms(0));
        await resizing().revertResize(spec.id);
        expect(await refusal(second())).toBe('unsupported');
        await resizing().resize(spec.id, flavor, never);
        await resizing().confirmResize(spec.id);
        expect(await second()).toBe(2 ** 30);
        expect(await refusal(resizing().checkResize(spec.id, spec.flavor))).toBe('unsupported');
      }
      await stage.driver.powerOn(spec.id, spec.nics);
      expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running' });
      await stage.discard(spec.id);
      await stage.leavesNothing(spec.id);
    });

    stage.behaviour('resizing', 'has nothing to confirm or revert of a guest that was not resized', async () => {
      const spec = await stage.off();
      await resizing().confirmResize(spec.id);
      await resizing().revertResize(spec.id);
      expect(await stage.driver.inspect(spec.id)).toMatchObject({ stage: 'settled', ...sizes(spec.flavor) });
      await stage.discard(spec.id);
    });
  });
