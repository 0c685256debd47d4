import { afterAll, afterEach, beforeAll } from 'vitest';
import type { VsphereDriver } from '../vsphere.driver.js';
import { VcenterUnderTest } from './vcenter-under-test.js';

/** A vCenter for the specs of one block, with drivers that are closed after each. */
export class Vcenters {
  first!: VcenterUnderTest;
  private readonly open: VsphereDriver[] = [];

  constructor() {
    beforeAll(async () => {
      this.first = await VcenterUnderTest.start();
    });
    afterEach(async () => {
      await this.first.simulator.failNoMore();
      for (const driver of this.open.splice(0)) await driver.close();
    });
    afterAll(() => this.first?.stop());
  }

  drive(...args: Parameters<VcenterUnderTest['open']>): VsphereDriver {
    const driver = this.first.open(...args);
    this.open.push(driver);
    return driver;
  }
}
