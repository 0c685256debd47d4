import { bytes, ms } from '@omnivisor/contracts';
import { describe, expect } from 'vitest';
import { never, newId, refusal, type Stage } from '../stage.js';

export const describeDevices = (stage: Stage): void => {
  const { under } = stage;
  const unit = under.diskUnit ?? 1 << 20;
  const disk = { 'a disk to attach': under.disk };
  const seen = { ...disk, 'a test guest with disks': under.inside?.disk };

  describe('attached disks', () => {
    const disks = () => stage.driver.disks!;

    stage.behaviour(
      'disks',
      'come to a guest that is off, stay over restarts, and keep what is written',
      async () => {
        const made = await under.disk!();
        const spec = await stage.off(true);
        for (let i = 0; i < 2; i++) await disks().attach(spec.id, made.disk);
        await stage.restart();
        await stage.driver.powerOn(spec.id, spec.nics);
        await under.inside!.up(spec.id);
        await under.inside!.disk!.write(spec.id, 1, 'D');
        await stage.driver.reboot(spec.id, 'hard', spec.nics);
        await under.inside!.up(spec.id);
        expect(await under.inside!.disk!.read(spec.id, 1)).toBe('D');
        await stage.driver.powerOff(spec.id, ms(0));
        for (let i = 0; i < 2; i++) await disks().detach(spec.id, made.disk.diskId);
        await stage.driver.powerOn(spec.id, spec.nics);
        await under.inside!.up(spec.id);
        expect(await under.inside!.disk!.read(spec.id, 1)).not.toBe('D');

        await stage.driver.powerOff(spec.id, ms(0));
        await disks().attach(spec.id, made.disk);
        await stage.driver.powerOn(spec.id, spec.nics);
        await under.inside!.up(spec.id);
        expect(await under.inside!.disk!.read(spec.id, 1)).toBe('D');
        await stage.discard(spec.id);
        await made.remove();
      },
      seen,
    );

    stage.behaviour(
      'disks',
      'come to a running guest, once, and are there after a reboot',
      async () => {
        const made = await under.disk!();
        const spec = await stage.up();
        await Promise.all([disks().attach(spec.id, made.disk), disks().attach(spec.id, made.disk)]);
        await stage.driver.reboot(spec.id, 'hard', spec.nics);
        if (under.inside?.disk) {
          await under.inside.up(spec.id);
          await under.inside.disk.write(spec.id, 1, 'H');
          expect(await under.inside.disk.read(spec.id, 1)).toBe('H');
        }
        await stage.discard(spec.id);
        await stage.leavesNothing(spec.id);
        expect(await made.exists()).toBe(true);
        await made.remove();
      },
      disk,
    );

    stage.behaviour(
      'disks',
      'stay attached when a running guest does not let go of them',
      async () => {
        const made = await under.disk!();
        const spec = await stage.off(true);
        await disks().attach(spec.id, made.disk);
        await stage.driver.powerOn(spec.id, spec.nics);
        await under.inside!.up(spec.id);
        expect(await refusal(disks().detach(spec.id, made.disk.diskId))).toBe('unavailable');
        await under.inside!.disk!.write(spec.id, 1, 'K');
        expect(await under.inside!.disk!.read(spec.id, 1)).toBe('K');
        await stage.discard(spec.id);
        await made.remove();
      },
      { ...seen, 'a test guest that ignores unplugging': under.guestUnplugs === false },
    );

    stage.behaviour(
      'disks',
      'leave a running guest that lets go of them',
      async () => {
        const made = await under.disk!();
        const spec = await stage.up();
        await disks().attach(spec.id, made.disk);
        for (let i = 0; i < 2; i++) await disks().detach(spec.id, made.disk.diskId);
        const next = await stage.off();
        await disks().attach(next.id, made.disk);
        for (const { id } of [spec, next]) await stage.discard(id);
        await made.remove();
      },
      { ...disk, 'a test guest that lets go': under.guestUnplugs !== false },
    );

    stage.behaviour(
      'disks',
      'cannot be written when they are read only',
      async () => {
        const made = await under.disk!();
        const spec = await stage.off(true);
        await disks().attach(spec.id, { ...made.disk, readOnly: true });
        await stage.driver.powerOn(spec.id, spec.nics);
        await under.inside!.up(spec.id);
        await under.inside!.disk!.write(spec.id, 1, 'R');
        expect(await under.inside!.disk!.read(spec.id, 1)).not.toBe('R');
        await stage.discard(spec.id);
        await made.remove();
      },
      { ...seen, 'read-only disks': under.readOnlyDisks !== false },
    );

    stage.behaviour(
      'disks',
      'stay over a rebuild and outlive the guest',
      async () => {
        const made = await under.disk!();
        const spec = await stage.up();
        await disks().attach(spec.id, made.disk);
        await stage.driver.rebuilding!.rebuild({ ...spec, mark: { ...spec.mark, build: 1 } }, never);
        if (under.inside?.disk) {
          await under.inside.up(spec.id);
          await under.inside.disk.write(spec.id, 1, 'L');
          expect(await under.inside.disk.read(spec.id, 1)).toBe('L');
        }
        await stage.discard(spec.id);
        expect(await made.exists()).toBe(true);
        await made.remove();
      },
      { ...disk, 'a backend that rebuilds': under.supports.includes('rebuilding') },
    );

    stage.behaviour(
      'disks',
      'are refused on a bus or at a place that is not there, and leave the guest as it was',
      async () => {
        const made = await under.disk!();
        const spec = await stage.running();
        const { disk: good } = made;
        expect(await refusal(disks().attach(spec.id, { ...good, bus: 'no-such-bus' }))).toBe('unsupported');
        const nowhere = { kind: 'file' as const, path: '/nonexistent/disk' };
        await refusal(disks().attach(spec.id, { ...good, diskId: newId(), connection: nowhere }));
        await disks().detach(spec.id, good.diskId);
        await stage.driver.reboot(spec.id, 'hard', spec.nics);
        expect(await stage.power(spec.id)).toBe('running');
        await stage.discard(spec.id);
        await made.remove();
      },
      disk,
    );

    stage.behaviour(
      'diskGrowing',
      'grow, running or off, and never shrink',
      async () => {
        const made = await under.disk!();
        const spec = await stage.up();
        const grow = (size: number) => stage.driver.diskGrowing!.grow(spec.id, made.disk.diskId, bytes(size));
        await disks().attach(spec.id, made.disk);
        for (let i = 0; i < 2; i++) await grow(2 * unit);
        expect(await refusal(grow(unit))).toBe('unsupported');
        await stage.driver.powerOff(spec.id, ms(0));
        await grow(3 * unit);
        expect(await refusal(grow(2 * unit))).toBe('unsupported');
        await stage.driver.powerOn(spec.id, spec.nics);
        expect(await stage.power(spec.id)).toBe('running');
        await stage.discard(spec.id);
        await made.remove();
      },
      disk,
    );
  });

  describe('attached network interfaces', () => {
    const plugged = async (id: Parameters<typeof stage.power>[0]) =>
      (await stage.driver.statistics!.read(id)).nics.map((nic) => nic.portId).sort();
    const counted = { 'a network interface to attach': under.nic, statistics: under.supports.includes('statistics') };

    stage.behaviour(
      'nics',
      'come to a guest that is off and to one that runs, once each',
      async () => {
        const spec = await stage.off(true);
        const [cold, hot] = [await under.nic!(spec.id), await under.nic!(spec.id)];
        for (let i = 0; i < 2; i++) await stage.driver.nics!.attach(spec.id, cold);
        await stage.driver.powerOn(spec.id, [...spec.nics, cold]);
        await under.inside?.up(spec.id);
        for (let i = 0; i < 2; i++) await stage.driver.nics!.attach(spec.id, hot);
        const ports = [...spec.nics, cold, hot].map((nic) => nic.portId).sort();
        expect(await plugged(spec.id)).toEqual(ports);
        await stage.restart();
        expect(await plugged(spec.id)).toEqual(ports);
        await stage.driver.reboot(spec.id, 'hard', [...spec.nics, cold, hot]);
        expect(await plugged(spec.id)).toEqual(ports);
        await stage.discard(spec.id);
        await stage.leavesNothing(spec.id);
      },
      counted,
    );

    stage.behaviour(
      'nics',
      'leave a guest that is off, and twice is once',
      async () => {
        const spec = await stage.off();
        const nic = await under.nic!(spec.id);
        await stage.driver.nics!.attach(spec.id, nic);
        for (let i = 0; i < 2; i++) await stage.driver.nics!.detach(spec.id, nic.portId);
        await stage.driver.powerOn(spec.id, spec.nics);
        expect(await plugged(spec.id)).toEqual(spec.nics.map(({ portId }) => portId).sort());
        await stage.discard(spec.id);
      },
      counted,
    );

    stage.behaviour(
      'nics',
      'leave a running guest that lets go of them, and stay with one that does not',
      async () => {
        const spec = await stage.up();
        const nic = await under.nic!(spec.id);
        await stage.driver.nics!.attach(spec.id, nic);
        if (under.guestUnplugs === false) {
          expect(await refusal(stage.driver.nics!.detach(spec.id, nic.portId))).toBe('unavailable');
          expect(await plugged(spec.id)).toContain(nic.portId);
        } else {
          await stage.driver.nics!.detach(spec.id, nic.portId);
          expect(await plugged(spec.id)).not.toContain(nic.portId);
        }
        await stage.discard(spec.id);
        await stage.leavesNothing(spec.id);
      },
      counted,
    );

    stage.behaviour(
      'nics',
      'let nothing pass once they are cut off, until they are attached again',
      async () => {
        const spec = await stage.up();
        const nic = await under.nic!(spec.id);
        const passes = () => under.passes!(spec.id, nic.portId);
        await stage.driver.nics!.cutOff(spec.id, nic.portId);
        await stage.driver.nics!.attach(spec.id, nic);
        expect(await passes()).toBe(true);
        for (let i = 0; i < 2; i++) await stage.driver.nics!.cutOff(spec.id, nic.portId);
        expect(await passes()).toBe(false);
        await stage.restart();
        expect(await passes()).toBe(false);
        await stage.driver.nics!.attach(spec.id, nic);
        expect(await passes()).toBe(true);
        await stage.discard(spec.id);
        await stage.leavesNothing(spec.id);
      },
      { 'a network interface to attach': under.nic, 'a look at what passes a port': under.passes },
    );
  });
};
