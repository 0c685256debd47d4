import { afterAll, beforeAll, describe } from 'vitest';
import { describeDevices } from '../conformance/areas/devices.js';
import { describeMigration } from '../conformance/areas/migration.js';
import { describePower } from '../conformance/areas/power.js';
import { describeSuspending } from '../conformance/areas/suspending.js';
import { Results } from '../conformance/results.js';
import { Stage } from '../conformance/stage.js';
import { PoolUnderTest } from './testing/pool-under-test.js';

/** Where a paravirtual guest differs from HVM: the pool does not ask for its drivers. */
describe('paravirtual guests of a pool', async () => {
  const pool = await PoolUnderTest.start({ shutdownPatience: 500, guestTools: false }, 'paravirtual');
  const moves = ['liveMigration', 'liveMigration.copied'] as const;
  const under = pool.underTest(['pausing', 'suspending', 'rebuilding', 'disks', 'nics', 'statistics', ...moves]);
  const stage = new Stage(under, new Results(under));
  beforeAll(() => stage.open());
  afterAll(async () => {
    await stage.close();
    await pool.stop();
  });

  describePower(stage);
  describeSuspending(stage);
  describeDevices(stage);
  describeMigration(stage);
});
