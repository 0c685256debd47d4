import { randomUUID } from 'node:crypto';
import { ServerId } from '@omnivisor/contracts';
import { afterAll, afterEach, beforeAll } from 'vitest';
import type { GuestSpec } from '../../hypervisor-driver.js';
import { type GuestState, readState } from '../operations/guest-state.js';
import type { XenServerDriver, XenServerOptions } from '../xenserver.driver.js';
import { PoolUnderTest } from './pool-under-test.js';

export const never = new AbortController().signal;
export const newId = () => ServerId.parse(randomUUID());

/** Pools for the specs of one file, with drivers that are closed after each. */
export class Pools {
  /** The one that most specs use. */
  first!: PoolUnderTest;
  private readonly pools: PoolUnderTest[] = [];
  private readonly open: XenServerDriver[] = [];

  constructor() {
    beforeAll(async () => {
      this.first = await this.start();
    });
    afterEach(async () => {
      this.first.double.faults.clear();
      for (const driver of this.open.splice(0)) await driver.close();
    });
    afterAll(async () => {
      for (const pool of this.pools) await pool.stop();
    });
  }

  async start(options: Record<string, unknown> = {}): Promise<PoolUnderTest> {
    const pool = await PoolUnderTest.start({ shutdownPatience: 500, ...options });
    this.pools.push(pool);
    return pool;
  }

  drive(change: Partial<XenServerOptions> = {}, on = this.first): XenServerDriver {
    const driver = on.open(change);
    this.open.push(driver);
    return driver;
  }

  async running(
    driver: XenServerDriver,
    change: Partial<GuestSpec> = {},
    on = this.first,
  ): Promise<GuestSpec & { id: ServerId }> {
    const spec = on.guest(newId(), change);
    await driver.spawn(spec, never);
    return { ...spec, id: spec.mark.serverId };
  }

  recordOf(id: ServerId, on = this.first) {
    return on.double.db.get('VM', on.vmOf(id).ref);
  }

  stateOf(id: ServerId, on = this.first): GuestState {
    const state = readState(this.recordOf(id, on).other_config);
    if (state === null || state === 'unreadable') throw new Error('the VM has no state');
    return state;
  }
}
