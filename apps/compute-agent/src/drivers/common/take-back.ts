import type { HypervisorError } from '../hypervisor-driver.js';

/**
 * A rescue that fails leaves the guest as it was, and off. One whose end nobody knows goes on when it is asked for again.
 * @param known the error as the driver's callers know it; `unavailable` is one that may be done yet, or the next time
 */
export const orTakeBack = async (
  start: () => Promise<void>,
  takeBack: () => Promise<void>,
  known: (error: unknown, doing: string) => HypervisorError,
): Promise<void> => {
  try {
    await start();
  } catch (error) {
    // The hypervisor's answer to the call that failed is of more interest.
    if (known(error, 'rescuing the guest').code !== 'unavailable') await takeBack().catch(() => undefined);
    throw error;
  }
};
