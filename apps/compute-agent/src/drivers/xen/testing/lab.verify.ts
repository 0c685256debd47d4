import { randomUUID } from 'node:crypto';
import { ms, ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeHypervisorDriver } from '../../conformance/index.js';
import type { XenDriver } from '../xen.driver.js';
import { inShell, isUp, Lab, LabSettings, labUnderTest, PATIENCE } from './lab.js';

/** Run by tools/lab/xen.mjs, which has put what it was told into the environment. */
const lab = new Lab(LabSettings.parse(JSON.parse(process.env.OMNIVISOR_LAB_XEN!)));
afterAll(() => lab.close());

describe('the test image in a paravirtual domain', () => {
  let driver: XenDriver;
  beforeAll(async () => {
    driver = await lab.open();
    // Here all is as Debian has it.
    await lab.run('touch /run/lab-original');
  }, PATIENCE);
  afterAll(async () => {
    await lab.run('rm /run/lab-original');
    await driver.close();
  }, PATIENCE);

  for (const boot of ['pygrub', 'kernel'] as const)
    it(`boots by ${boot}, and shuts down when asked`, { timeout: PATIENCE * 3 }, async () => {
      const id = ServerId.parse(randomUUID());
      const since = Date.now();
      await driver.spawn(lab.guest(id, boot), new AbortController().signal);
      const created = Date.now();
      await isUp(driver, id);
      const booted = Date.now();
      expect(await inShell(driver, id, 'cat /sys/hypervisor/type')).toContain('xen');
      await driver.powerOff(id, ms(PATIENCE));
      expect((await driver.inspect(id)).power).toBe('shutdown');
      await driver.destroy(id);
      const took = (from: number, to: number) => `${((to - from) / 1000).toFixed(1)} s`;
      console.log(
        `${boot}: spawned in ${took(since, created)}, at its prompt after ${took(created, booted)} more, off and gone after ${took(booted, Date.now())}`,
      );
    });
});

describeHypervisorDriver(labUnderTest(lab));
