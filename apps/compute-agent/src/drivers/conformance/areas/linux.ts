import { ms } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import type { GuestSpec } from '../../hypervisor-driver.js';
import { never, newId, type Stage } from '../stage.js';

/** An image may have to be built, and every instruction of its first boot be emulated. */
const BOOT_LIMIT = 300_000;

/** What only an operating system shows; one guest for all of it, as booting takes longest. */
export const describeLinux = (stage: Stage) =>
  describe('a guest with Linux', () => {
    const { under, patience } = stage;
    const linux = under.linux!;
    const inside = { 'a guest with Linux': linux };
    let spec: GuestSpec & { id: ReturnType<typeof newId> };
    const run = (command: string) => linux.run(spec.id, command);
    const shows = (command: string, text: string | RegExp) =>
      expect.poll(() => run(command), { timeout: patience, interval: 100 }).toMatch(text);
    const hides = (command: string, text: string | RegExp) =>
      expect.poll(() => run(command), { timeout: patience, interval: 100 }).not.toMatch(text);

    beforeAll(async () => {
      if (!linux) return;
      const id = newId();
      stage.own(id);
      spec = { ...(await linux.spec(id)), id };
      await stage.driver.spawn(spec, never);
      await linux.up(id);
    }, BOOT_LIMIT);
    afterAll(async () => {
      if (spec) await stage.discard(spec.id);
    });

    stage.behaviour(
      'configDrive',
      'is read by the guest inside',
      async () => {
        expect(await run('hostname')).toContain('conformance');
      },
      inside,
    );

    stage.behaviour(
      'spawning',
      'gives the guest the memory and CPUs of its flavor',
      async () => {
        expect(Number(/\d+/.exec(await run('grep -c ^processor /proc/cpuinfo'))?.[0])).toBe(spec.flavor.vcpus);
        const kib = Number(/\d+/.exec(await run('grep MemTotal /proc/meminfo'))?.[0]);
        expect(kib / 1024).toBeGreaterThan(spec.flavor.memory * 0.6);
        expect(kib / 1024).toBeLessThanOrEqual(spec.flavor.memory);
      },
      inside,
    );

    stage.behaviour(
      'disks',
      'are seen by their serial number as soon as they are attached, and no more once they are detached',
      async () => {
        const made = await under.disk!();
        const find = 'cat /sys/block/*/serial 2>/dev/null; true';
        await stage.driver.disks!.attach(spec.id, made.disk);
        await shows(find, made.disk.serial);
        await stage.driver.disks!.detach(spec.id, made.disk.diskId);
        await hides(find, made.disk.serial);
        await made.remove();
      },
      { ...inside, 'a disk to attach': under.disk, 'serial numbers of disks': under.diskSerials !== false },
    );

    stage.behaviour(
      'nics',
      'are seen by their address as soon as they are attached, and no more once they are detached',
      async () => {
        const nic = await under.nic!(spec.id);
        const find = 'cat /sys/class/net/*/address';
        await stage.driver.nics!.attach(spec.id, nic);
        await shows(find, nic.mac);
        await stage.driver.nics!.detach(spec.id, nic.portId);
        await hides(find, nic.mac);
      },
      { ...inside, 'a network interface to attach': under.nic },
    );

    stage.behaviour(
      'statistics',
      'tell what the guest has done',
      async () => {
        const read = () => stage.driver.statistics!.read(spec.id);
        const before = await read();
        await run('dd if=/dev/zero of=/root/blob bs=64k count=16 2>/dev/null; sync; rm /root/blob');
        const after = await read();
        const written = (all: typeof before) => all.disks.find(({ disk }) => disk === 'root')!.writeBytes!;
        expect(written(after) - written(before)).toBeGreaterThanOrEqual(1 << 20);
        expect(after.cpus[0]!.time!).toBeGreaterThan(before.cpus[0]!.time!);
        expect(after.memory.used!).toBeGreaterThan(0);
        expect(after.nics[0]).toMatchObject({ portId: spec.nics[0]!.portId, mac: spec.nics[0]!.mac });
      },
      { ...inside, 'counters of single writes': under.countsRequests !== false },
    );

    stage.behaviour(
      'guestAgent',
      'tells of the guest and sets a password',
      async () => {
        const agent = stage.driver.guestAgent!;
        await expect.poll(() => agent.info(spec.id).catch(() => null), { timeout: patience }).not.toBeNull();
        expect((await agent.info(spec.id)).hostname).toBe('conformance');
        const shadow = () => run('grep ^root: /etc/shadow');
        const before = await shadow();
        await agent.setPassword(spec.id, 'root', 'a new secret');
        expect(await shadow()).not.toBe(before);
        await expect(agent.setPassword(spec.id, 'nobody-of-this-name', 'x')).rejects.toMatchObject({ code: 'fault' });
      },
      inside,
    );

    stage.behaviour(
      'snapshots',
      'are quiesced by the guest agent, and the guest thaws',
      async () => {
        const disk = await stage.driver.snapshots!.exportDisk(
          spec.id,
          'root',
          stage.driver.snapshots!.formats[0]!,
          never,
        );
        expect(disk.quiesced).toBe(true);
        disk.stream.destroy();
        expect(await run('echo thawed >/root/thawed; sync; cat /root/thawed')).toContain('thawed');
      },
      { ...inside, 'a guest agent': under.supports.includes('guestAgent') },
    );

    stage.behaviour(
      'suspending',
      'keeps what runs in the guest',
      async () => {
        await run('echo kept >/run/kept');
        await stage.driver.suspending!.suspend(spec.id);
        await stage.driver.suspending!.resume(spec.id, spec.nics);
        expect(await run('cat /run/kept')).toContain('kept');
      },
      inside,
    );

    stage.behaviour(
      'power',
      'shuts down in order when asked',
      async () => {
        await run('echo written >/root/written');
        const asked = performance.now();
        await stage.driver.powerOff(spec.id, ms(patience));
        expect(performance.now() - asked).toBeLessThan(patience);
        expect(await stage.power(spec.id)).toBe('shutdown');
      },
      inside,
    );
  });
