import type { ServerId } from '@omnivisor/contracts';
import type { GuestSpec, HypervisorDriver } from '../hypervisor-driver.js';
import type { Change, Devices } from './driver-under-test.js';
import { perform } from './perform.js';

/** What runs in the process that `crashIn` kills: opens the driver when it is told a change, and does that. */
export const mortalAgent = async <S>(
  open: (settings: S) => { driver: HypervisorDriver; spec(id: ServerId): GuestSpec },
): Promise<void> => {
  const settings = JSON.parse(process.argv[2]!) as S;
  const told = await new Promise<Buffer>((resolve) => process.stdin.once('data', resolve));
  const { change, id, devices } = JSON.parse(told.toString()) as { change: Change; id: ServerId; devices: Devices };
  const { driver, spec } = open(settings);
  console.log('ready');
  await perform(driver, change, spec(id), devices);
  console.log('done');
  process.exit(0);
};
