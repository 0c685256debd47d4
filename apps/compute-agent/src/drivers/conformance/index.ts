import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeDevices } from './areas/devices.js';
import { describeHost } from './areas/host.js';
import { describeIsolation } from './areas/isolation.js';
import { describeLinux } from './areas/linux.js';
import { describeAdoption, describeMigration } from './areas/migration.js';
import { describeObservation } from './areas/observation.js';
import { describePower } from './areas/power.js';
import { describeRebuilding } from './areas/rebuilding.js';
import { describeRecovery } from './areas/recovery.js';
import { describeRescuing } from './areas/rescuing.js';
import { describeResizing } from './areas/resizing.js';
import { describeSnapshots } from './areas/snapshots.js';
import { describeSpawning } from './areas/spawning.js';
import { describeSuspending } from './areas/suspending.js';
import type { DriverUnderTest } from './driver-under-test.js';
import { compare, Results } from './results.js';
import { Stage } from './stage.js';

export type { Change, DriverUnderTest, Inside, Level, LinuxGuest } from './driver-under-test.js';

/**
 * What every hypervisor driver promises, as one suite over any of them. What it shows goes to
 * `generated/<backend>.json`, of which the support matrix is made: with `OMNIVISOR_WRITE_RESULTS=1` it is written,
 * otherwise the last test says where it differs.
 */
export const describeHypervisorDriver = (under: DriverUnderTest): void => {
  const results = new Results(under);
  const stage = new Stage(under, results);

  describe(`hypervisor driver: ${under.backend}`, () => {
    beforeAll(() => stage.open(), stage.patience * 3);
    afterAll(() => stage.close(), stage.patience * 3);

    describeHost(stage);
    describeSpawning(stage);
    describePower(stage);
    describeSuspending(stage);
    describeRebuilding(stage);
    describeRescuing(stage);
    describeResizing(stage);
    describeSnapshots(stage);
    describeDevices(stage);
    describeMigration(stage);
    describeAdoption(stage);
    describeObservation(stage);
    describeIsolation(stage);
    describeRecovery(stage);
    describeLinux(stage);

    it.runIf(under.recorded !== false)(
      'shows what its committed results say; OMNIVISOR_WRITE_RESULTS=1 writes them anew',
      () => {
        if (process.env.OMNIVISOR_WRITE_RESULTS === '1') results.write();
        expect(compare(results.committed(), results.fresh, under.incomplete === true)).toEqual([]);
      },
    );
  });
};
