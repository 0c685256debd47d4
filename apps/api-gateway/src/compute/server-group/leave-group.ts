import type { CommandContext, ProjectId, ServerId } from '@omnivisor/contracts';
import type { GatewayCore } from '../../core/gateway-core.js';
import { serverGroupAggregate } from './server-group.js';

/** The group that scheduler hints name; null when they name none. */
export const groupOf = (hints: Readonly<Record<string, unknown>>): string | null => {
  const hint = Array.isArray(hints.group) ? hints.group[0] : hints.group;
  return typeof hint === 'string' ? hint : null;
};

/** Makes room in the group of a server that is gone. Doing it twice is harmless. */
export const leaveGroup = async (
  core: GatewayCore,
  server: { readonly id: string; readonly projectId: string; readonly hints: Readonly<Record<string, unknown>> },
  context: CommandContext,
): Promise<void> => {
  const groupId = groupOf(server.hints);
  if (groupId === null) return;
  await core.commands.execute(
    serverGroupAggregate,
    server.projectId,
    { type: 'leave', projectId: server.projectId as ProjectId, groupId, serverId: server.id as ServerId },
    context,
  );
};
