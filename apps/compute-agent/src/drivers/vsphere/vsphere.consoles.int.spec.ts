import { existsSync, truncateSync, writeFileSync } from 'node:fs';
import { ms } from '@omnivisor/contracts';
import { beforeAll, describe, expect, it } from 'vitest';
import { consoleFile } from './operations/consoles.js';
import { noSimulator } from './testing/simulator.js';
import { never, type VcenterUnderTest } from './testing/vcenter-under-test.js';
import { Vcenters } from './testing/vcenters.js';
import type { AnswerObject, ArgumentObject, Ref } from './transport/soap.js';
import { isTrue } from './transport/soap.js';
import type { VsphereDriver } from './vsphere.driver.js';

const MIB = 2 ** 20;

describe.skipIf(noSimulator)(
  `the console log of a guest on a vCenter${noSimulator === null ? '' : `: ${noSimulator}`}`,
  () => {
    const vcenters = new Vcenters();
    let vcenter: VcenterUnderTest;
    beforeAll(() => {
      vcenter = vcenters.first;
    });

    const port = async (vm: Ref) => (await vcenter.devices(vm)).find(({ $type }) => $type === 'VirtualSerialPort')!;
    const isOpen = async (vm: Ref) => isTrue(((await port(vm)).connectable as AnswerObject).connected);
    const open = async (vm: Ref) => {
      const device = await port(vm);
      const connectable = { ...(device.connectable as object), connected: true };
      await vcenter.updates.run(vm, 'ReconfigVM_Task', {
        spec: { deviceChange: [{ operation: 'edit', device: { ...device, connectable } as ArgumentObject }] },
      });
    };
    /** A guest that runs and has said so much; a hypervisor opens the port when it starts. */
    const talking = async (driver: VsphereDriver, size: number) => {
      const spec = await vcenter.running(driver);
      const { ref, file } = await vcenter.vmOf(spec.id);
      await open(ref);
      const log = vcenter.file(consoleFile(file));
      writeFileSync(log, 'said');
      truncateSync(log, size);
      return { ...spec, ref, log };
    };

    it('is closed once it is too large, and begun anew when the guest starts again', async () => {
      const driver = vcenters.drive({ consoleLook: 50 });
      const [loud, quiet] = [await talking(driver, 17 * MIB), await talking(driver, MIB)];
      const done = new AbortController();
      driver.events(done.signal);
      await expect.poll(() => isOpen(loud.ref), { timeout: 5_000 }).toBe(false);
      expect(await isOpen(quiet.ref)).toBe(true);
      const { connectable, backing } = await port(loud.ref);
      expect(isTrue((connectable as AnswerObject).startConnected)).toBe(true);
      expect((backing as AnswerObject).fileName).toContain('console.log');
      done.abort();
      for (const { id, nics, log } of [loud, quiet]) {
        await driver.powerOff(id, ms(0));
        expect(existsSync(log)).toBe(true);
        await driver.powerOn(id, nics);
        expect(existsSync(log)).toBe(log === quiet.log);
        await driver.destroy(id);
      }
    });

    it('is closed only while nothing else is done to the guest, and others do not wait for it', async () => {
      const driver = vcenters.drive({ consoleLook: 50 });
      const [busy, loud] = [await talking(driver, 17 * MIB), await talking(driver, 17 * MIB)];
      vcenter.gateway.deaf.add(busy.ref.value);
      let isOff = false;
      const stopping = driver.powerOff(busy.id, ms(3_000)).then(() => {
        isOff = true;
      });
      const done = new AbortController();
      driver.events(done.signal);
      // The second time, all were looked at in between.
      for (let i = 0; i < 2; i++) {
        await open(loud.ref);
        await expect.poll(() => isOpen(loud.ref), { timeout: 5_000 }).toBe(false);
      }
      expect([await isOpen(busy.ref), isOff]).toEqual([true, false]);
      done.abort();
      await stopping;
      for (const { id } of [busy, loud]) await driver.destroy(id);
    });

    it('is begun anew by a rebuild too', async () => {
      const driver = vcenters.drive();
      const { log, ...spec } = await talking(driver, 17 * MIB);
      await driver.rebuilding.rebuild({ ...spec, mark: { ...spec.mark, build: 1 } }, never);
      expect(existsSync(log)).toBe(false);
      await driver.destroy(spec.id);
    });

    it('is read from its end, also where files come as a whole, but then not past much', async () => {
      const driver = vcenters.drive();
      const { id, log } = await talking(driver, 0);
      const tail = async (most: number) => (await driver.consoleLog.tail(id, most)).toString();
      for (const whole of [false, true]) {
        vcenter.gateway.dropsRanges = whole;
        writeFileSync(log, '');
        expect(await tail(8)).toBe('');
        writeFileSync(log, `${'-'.repeat(MIB)}the end`);
        expect(await tail(7)).toBe('the end');
        expect(await tail(2 * MIB)).toHaveLength(MIB + 7);
      }
      truncateSync(log, 65 * MIB);
      await expect(tail(7)).rejects.toMatchObject({ code: 'unavailable' });
      vcenter.gateway.dropsRanges = false;
      expect(await tail(7)).toHaveLength(7);
      await driver.destroy(id);
    });
  },
);
