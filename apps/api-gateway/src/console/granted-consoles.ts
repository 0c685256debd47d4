import { consoleGrantTable, consoleRevocationTable } from '../compute/console/console.projection.js';
import type { GatewayCore } from '../core/gateway-core.js';
import type { ConsoleTokens } from './console-proxy.js';

/** Grants that the Compute API gave out, void from the moment their server stopped or was deleted. */
export const grantedConsoles = (core: GatewayCore): ConsoleTokens => ({
  find: async (fingerprint) => {
    const rows = await core.fresh();
    const grant = await rows.get(consoleGrantTable, fingerprint);
    if (!grant) return null;
    const revoked = await rows.get(consoleRevocationTable, grant.serverId);
    return revoked && revoked.revokedAt > grant.grantedAt ? null : grant;
  },
});
