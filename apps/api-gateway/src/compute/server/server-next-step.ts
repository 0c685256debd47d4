import { after, type Instant } from '@omnivisor/contracts';
import type { Server } from './server.js';
import { taskDeadlines } from './server-deadlines.js';

export const SERVER_PROCESS = 'server';

export type ServerStep = 'allocatePorts' | 'schedule' | 'expireTask' | 'release';

/** What the process manager does next for a server, and when; null when the server is at rest. */
export const nextStep = (
  server: Server & { readonly updatedAt: Instant; readonly taskSince: Instant | null },
): { readonly step: ServerStep; readonly at: Instant } | null => {
  if (server.vmState === 'deleted') return server.released ? null : { step: 'release', at: server.updatedAt };
  if (server.taskState === null || server.taskSince === null) return null;
  const deadline = after(server.taskSince, taskDeadlines[server.taskState]);
  if (server.taskState === 'scheduling' && server.updatedAt < deadline)
    return { step: server.ports === null ? 'allocatePorts' : 'schedule', at: server.updatedAt };
  return { step: 'expireTask', at: deadline };
};
