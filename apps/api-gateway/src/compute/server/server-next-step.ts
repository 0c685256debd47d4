import { after, type Instant, type ServerEvent, seconds } from '@omnivisor/contracts';
import type { Server } from './server.js';
import { taskDeadlines } from './server-deadlines.js';

export const SERVER_PROCESS = 'server';

export type ServerStep = 'schedule' | 'expireTask' | 'release';

/** How long the replica that made a step due has for it before any other takes it up. */
const HEAD_START = seconds(2);

/** What the process manager does next for a server, and when others do it; null when the server is at rest. */
export const nextStep = (
  server: Pick<Server, 'vmState' | 'taskState' | 'released'> & {
    readonly updatedAt: Instant;
    readonly taskSince: Instant | null;
  },
): { readonly step: ServerStep; readonly at: Instant } | null => {
  const at = after(server.updatedAt, HEAD_START);
  if (server.vmState === 'deleted') return server.released ? null : { step: 'release', at };
  if (server.taskState === null || server.taskSince === null) return null;
  const deadline = after(server.taskSince, taskDeadlines[server.taskState]);
  if (server.taskState === 'scheduling' && at < deadline) return { step: 'schedule', at };
  return { step: 'expireTask', at: deadline };
};

type Begun = 'schedule' | 'release' | null;

const scheduling = (server: Server): Begun => (server.taskState === 'scheduling' ? 'schedule' : null);

const begun: { readonly [T in ServerEvent['type']]?: (server: Server) => Begun } = {
  ServerCreateRequested: scheduling,
  ServerSpawnFailed: scheduling,
  // What was deleted under its build waits for its turn: the build is over by then.
  ServerDeleted: ({ released, ports, fault }) => (released || (ports === null && fault === null) ? null : 'release'),
};

export const beginsWork = (event: ServerEvent): boolean => event.type in begun;

/** The step that the replica which appended an event goes on with; null when that is nothing now. */
export const begunBy = (event: ServerEvent, server: Server): Begun => begun[event.type]?.(server) ?? null;
