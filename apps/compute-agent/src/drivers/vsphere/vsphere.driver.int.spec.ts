import { afterAll, describe } from 'vitest';
import { describeHypervisorDriver } from '../conformance/index.js';
import { noSimulator } from './testing/simulator.js';
import { VcenterUnderTest } from './testing/vcenter-under-test.js';

describe.skipIf(noSimulator)(`on a vCenter${noSimulator === null ? '' : `: ${noSimulator}`}`, async () => {
  if (noSimulator !== null) return;
  const vcenter = await VcenterUnderTest.start();
  afterAll(() => vcenter.stop());

  describeHypervisorDriver(
    vcenter.underTest([
      ...(['suspending', 'rebuilding', 'rescuing', 'resizing', 'crashDumps', 'snapshots', 'disks'] as const),
      ...(['diskGrowing', 'nics', 'liveMigration', 'adoption', 'consoleLog'] as const),
      ...(['consoleTickets.mks', 'statistics', 'guestIntegration'] as const),
    ]),
  );
});
