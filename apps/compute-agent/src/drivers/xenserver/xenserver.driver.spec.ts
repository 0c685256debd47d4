import { afterAll } from 'vitest';
import { describeHypervisorDriver } from '../conformance/index.js';
import { PoolUnderTest } from './testing/pool-under-test.js';

const pool = await PoolUnderTest.start({ shutdownPatience: 500 });
afterAll(() => pool.stop());

describeHypervisorDriver({
  ...pool.underTest([
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
  remarks: [
    'Guests are HVM, as images that do not say get them, and report PV drivers. Serial consoles are those of paravirtual ' +
      'guests, over which the behaviours of power, suspending, devices and migration pass as well. What HVM guests without ' +
      'drivers cannot do (suspend, move, gain and lose devices while they run) is refused there, and leaves them as they were.',
    'Of recovery an agent ends at each call of a change that changes something in the pool, which goes on with the last one.',
  ],
  told: (proof) => {
    pool.kind = proof === 'consoles.serial' ? 'paravirtual' : 'fully virtual';
  },
});
