import { HypervisorError } from '../hypervisor-driver.js';
import type { QmpClient } from './qmp-client.js';
import { nextEvent } from './qmp-jobs.js';
import { hasDevice } from './qmp-queries.js';

const AGAIN = 5_000;

/**
 * Asks the guest to let go of a device, again every few seconds as one that is still booting misses it, and waits.
 * @throws HypervisorError `unavailable` when it does not in time, `fault` of a paused one
 */
export const unplug = async (qmp: QmpClient, id: string, patience: number): Promise<void> => {
  if (!(await hasDevice(qmp, id))) return;
  // It would let go as soon as it goes on, and nobody would know.
  if ((await qmp.call<{ status: string }>('query-status')).status === 'paused')
    throw new HypervisorError('fault', 'a paused guest lets go of no device');
  const gone = nextEvent(qmp, ({ event, data }) => event === 'DEVICE_DELETED' && data?.device === id, patience);
  gone.catch(() => undefined);
  // A guest that was asked before has the device still marked as going.
  const ask = () => qmp.call('device_del', { id }).catch(() => undefined);
  const again = setInterval(ask, AGAIN);
  try {
    await ask();
    await gone;
  } catch (error) {
    if (!(await hasDevice(qmp, id))) return;
    throw error instanceof HypervisorError && error.code === 'unavailable'
      ? new HypervisorError('unavailable', 'the guest does not let go of the device', id, { cause: error })
      : error;
  } finally {
    clearInterval(again);
  }
};
