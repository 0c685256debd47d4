import type { Backend } from '@omnivisor/contracts';
import type { Bus } from '@omnivisor/platform/ports';
import type { NetworkPlug } from '../agent/ports.js';
import type { AgentConfig } from '../config.js';
import { noNetwork } from './no-network.js';

/** The data plane that fits a backend on this host. */
export const openNetwork = async (
  _config: AgentConfig,
  _backend: Backend,
  _bus: Bus,
  _onError: (where: string, error: unknown) => void,
): Promise<NetworkPlug> => noNetwork;
