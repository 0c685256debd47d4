import { HypervisorError } from '../../hypervisor-driver.js';

/** Between two steps of a call that may be given up. @throws HypervisorError */
export const refuseAborted = (signal?: AbortSignal): void => {
  if (signal?.aborted) throw new HypervisorError('fault', 'it was aborted');
};
