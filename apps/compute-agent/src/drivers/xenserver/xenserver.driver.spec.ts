import { afterAll } from 'vitest';
import { describeHypervisorDriver } from '../conformance/index.js';
import { PoolUnderTest } from './testing/pool-under-test.js';

const pool = await PoolUnderTest.start({ shutdownPatience: 500 });
afterAll(() => pool.stop());

describeHypervisorDriver(
  pool.underTest([
    ...(['pausing', 'suspending', 'rebuilding', 'rescuing', 'resizing', 'snapshots', 'disks', 'nics'] as const),
    ...([
      'liveMigration',
      'liveMigration.copied',
      'adoption',
      'consoles.vnc',
      'consoles.serial',
      'statistics',
    ] as const),
    'guestIntegration',
  ]),
);
