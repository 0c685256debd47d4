import { ms } from '@omnivisor/contracts';
import { describe, expect } from 'vitest';
import type { ConsoleStream } from '../../hypervisor-driver.js';
import { refusal, type Stage } from '../stage.js';

const firstBytes = (stream: ConsoleStream): Promise<string> =>
  new Promise((resolve, reject) => {
    stream.readable.once('data', (data: Buffer) => resolve(data.toString('latin1')));
    stream.readable.once('end', () => reject(new Error('the console ended')));
  });

export const describeObservation = (stage: Stage): void => {
  const { under } = stage;

  describe('the console log', () => {
    const tail = async (id: Parameters<typeof stage.power>[0], bytes = 65_536) =>
      (await stage.driver.consoleLog!.tail(id, bytes)).toString('latin1');
    const text = { 'a guest that writes to its console': under.firstConsoleText };
    const times = (log: string) => log.split(under.firstConsoleText!).length - 1;

    stage.behaviour(
      'consoleLog',
      'has what the guest wrote, and its end when less is asked for',
      async () => {
        const { id } = await stage.running();
        await expect.poll(() => tail(id), { timeout: stage.patience, interval: 20 }).toMatch(under.firstConsoleText!);
        const whole = await tail(id);
        expect(await tail(id, 5)).toBe(whole.slice(-5));
        await stage.discard(id);
      },
      text,
    );

    stage.behaviour(
      'consoleLog',
      'goes on over restarts of guest and agent',
      async () => {
        const spec = await stage.running();
        const written = async () => times(await tail(spec.id));
        const soon = { timeout: stage.patience, interval: 20 };
        await expect.poll(written, soon).toBe(1);
        await stage.restart();
        await stage.driver.reboot(spec.id, 'hard', spec.nics);
        await expect.poll(written, soon).toBe(2);
        await stage.driver.powerOff(spec.id, ms(0));
        expect(await written()).toBe(2);
        await stage.discard(spec.id);
      },
      text,
    );

    stage.behaviour('consoleLog', 'is empty of a guest that never ran', async () => {
      const { id } = await stage.off();
      expect(await tail(id)).toBe('');
      await stage.discard(id);
    });
  });

  describe('consoles', () => {
    for (const kind of ['serial', 'vnc'] as const) {
      const open = (id: Parameters<typeof stage.power>[0]) => stage.driver.consoles!.open(id, kind);

      stage.behaviour(`consoles.${kind}`, `open a ${kind} stream that can be closed, twice`, async () => {
        const { id } = await stage.running();
        for (let i = 0; i < 2; i++) {
          const stream = await open(id);
          const closed = new Promise((resolve) => stream.readable.once('close', resolve));
          stream.readable.resume();
          stream.close();
          await closed;
        }
        expect(await stage.power(id)).toBe('running');
        await stage.discard(id);
      });

      stage.behaviour(`consoles.${kind}`, `have no ${kind} stream of a guest that is off`, async () => {
        const { id } = await stage.off();
        expect(await refusal(open(id))).toBe('unavailable');
        await stage.discard(id);
      });
    }

    stage.behaviour('consoles.serial', 'carry what is typed to the guest', async () => {
      const { id } = await stage.up();
      const stream = await stage.driver.consoles!.open(id, 'serial');
      const answer = firstBytes(stream);
      stream.writable.write('g');
      expect(await answer).not.toBe('');
      stream.close();
      await stage.discard(id);
    });

    stage.behaviour('consoles.vnc', 'speak RFB', async () => {
      const { id } = await stage.running();
      const stream = await stage.driver.consoles!.open(id, 'vnc');
      expect(await firstBytes(stream)).toMatch(/^RFB 003\.00\d\n/);
      stream.close();
      await stage.discard(id);
    });

    for (const kind of ['rdp', 'mks'] as const)
      stage.behaviour(`consoleTickets.${kind}`, `say where the ${kind} console is, of a guest that runs`, async () => {
        const { id } = await stage.running();
        const ticket = await stage.driver.consoleTickets!.open(id, kind);
        expect(ticket).toMatchObject({
          kind,
          host: expect.stringMatching(/./),
          accessPath: expect.stringMatching(/./),
        });
        expect(ticket.port).toBeGreaterThan(0);
        await stage.driver.powerOff(id, ms(0));
        expect(await refusal(stage.driver.consoleTickets!.open(id, kind))).toBe('unavailable');
        await stage.discard(id);
      });
  });

  describe('statistics', () => {
    stage.behaviour('statistics', 'count for each CPU, disk and interface that the guest has', async () => {
      const spec = await stage.up();
      const found = await stage.driver.statistics!.read(spec.id);
      expect(found.cpus).toHaveLength(spec.flavor.vcpus);
      expect(found.memory.maximum).toBe(spec.flavor.memory);
      expect(found.nics.map((nic) => nic.portId)).toEqual(spec.nics.map((nic) => nic.portId));
      expect(found.disks.map((disk) => disk.disk)).toContain('root');
      const numbers = [
        found.uptime,
        found.memory.used,
        ...found.cpus.map((cpu) => cpu.time),
        ...found.disks.flatMap(({ disk: _disk, ...counters }) => Object.values(counters)),
      ];
      for (const number of numbers) if (number !== null) expect(number).toBeGreaterThanOrEqual(0);
      await stage.discard(spec.id);
    });

    stage.behaviour(
      'statistics',
      'grow with what the guest does',
      async () => {
        const { id } = await stage.up();
        const root = async () => (await stage.driver.statistics!.read(id)).disks.find(({ disk }) => disk === 'root')!;
        const before = await root();
        await under.inside!.disk!.write(id, 0, 'A');
        const after = await root();
        expect(after.writeRequests!).toBeGreaterThan(before.writeRequests!);
        expect(after.writeBytes!).toBeGreaterThan(before.writeBytes!);
        await stage.discard(id);
      },
      { 'a test guest with a disk': under.inside?.disk, 'counters of single writes': under.countsRequests !== false },
    );

    stage.behaviour('statistics', 'are refused of a guest that is off', async () => {
      const { id } = await stage.off();
      expect(await refusal(stage.driver.statistics!.read(id))).toBe('fault');
      await stage.discard(id);
    });
  });

  describe('guest integration', () => {
    stage.behaviour(
      'guestIntegration',
      'tells what the guest says of itself',
      async () => {
        const { id } = await stage.up();
        const hostname = await under.tellsHostname!(id);
        await expect
          .poll(async () => (await stage.driver.guestIntegration!.read(id)).hostname, { timeout: stage.patience })
          .toBe(hostname);
        await stage.discard(id);
      },
      { 'a guest that tells of itself': under.tellsHostname },
    );

    stage.behaviour('guestIntegration', 'is not asked of a guest that is off', async () => {
      const { id } = await stage.off();
      expect(await refusal(stage.driver.guestIntegration!.read(id))).toBe('fault');
      await stage.discard(id);
    });
  });

  describe('the guest agent', () => {
    stage.behaviour('guestAgent', 'is not asked in a guest that has none or is off', async () => {
      const { id } = await stage.up();
      expect(['unavailable', 'unsupported']).toContain(await refusal(stage.driver.guestAgent!.info(id)));
      const password = stage.driver.guestAgent!.setPassword(id, 'root', 'secret');
      expect(['unavailable', 'unsupported']).toContain(await refusal(password));
      await stage.driver.powerOff(id, ms(0));
      expect(['fault', 'unsupported']).toContain(await refusal(stage.driver.guestAgent!.info(id)));
      await stage.discard(id);
    });
  });
};
