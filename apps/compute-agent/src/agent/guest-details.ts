import type { GuestDetails, ServerId } from '@omnivisor/contracts';
import { type HypervisorDriver, HypervisorError, memberOf } from '../drivers/hypervisor-driver.js';

const AGENT = 'guest agent';
/** What it says of a guest with no agent, or with one that does not answer. */
const SILENT = new Set(['unsupported', 'unavailable']);

/**
 * What a guest tells of itself, by the hypervisor's own services where it has such, else by an agent inside.
 * @throws HypervisorError `fault` of a guest that does not run, `unsupported` where nothing is told at all
 */
export const guestDetails = async (driver: HypervisorDriver, id: ServerId): Promise<GuestDetails> => {
  if (driver.guestIntegration) return driver.guestIntegration.read(id);
  const agent = memberOf(driver, 'guestAgent');
  try {
    const { hostname, operatingSystem } = await agent.info(id);
    return { hostname, operatingSystem, addresses: [], services: [{ name: AGENT, answers: true }] };
  } catch (error) {
    if (!(error instanceof HypervisorError) || !SILENT.has(error.code)) throw error;
    return { hostname: null, operatingSystem: null, addresses: [], services: [{ name: AGENT, answers: false }] };
  }
};
