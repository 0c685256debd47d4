import { conflict, notFound, type ServerId } from '@omnivisor/contracts';
import type { Server, TaskState, VmState } from './server.js';
import { isMoveUnsettled } from './server-moving.js';
import { lastingTask } from './server-operations.js';

/** Refusals that clients of Nova know by their texts. */
export const serverNotFound = (id: string) => notFound(`Instance ${id} could not be found.`);
export const invalidState = (action: string, id: string, attribute: string, state: string | null) =>
  conflict(`Cannot '${action}' instance ${id} while it is in ${attribute} ${state}`);

/** From which states an action is accepted, and what refusals call it. */
export interface StateRule {
  readonly action: string;
  readonly from: readonly VmState[];
  readonly task: readonly (TaskState | null)[];
}

/** Refuses what must not be asked of this server by this caller. */
export const guard = (server: Server, id: ServerId, asAdmin: boolean): void => {
  if (server.id === null || server.vmState === 'deleted') throw serverNotFound(id);
  if (server.locked && !asAdmin) throw conflict(`Instance ${id} is locked`);
};

/** Refuses what must not be asked of this server now. */
export const guardState = (server: Server, id: ServerId, rule: StateRule): void => {
  if (!rule.from.includes(server.vmState)) throw invalidState(rule.action, id, 'vm_state', server.vmState);
  if (!rule.task.includes(server.taskState)) throw invalidState(rule.action, id, 'task_state', server.taskState);
  const late = server.taskState === null ? lastingTask(server) : undefined;
  if (late) throw invalidState(rule.action, id, 'task_state', late);
  if (!server.launched || !server.placement || !server.spawned || server.held)
    throw conflict(`Instance ${id} is not ready`);
};

/** Refuses another move of a server whose last one left open where its guest is. */
export const guardSettled = (server: Server, id: ServerId): void => {
  if (isMoveUnsettled(server)) throw conflict(`The last migration of instance ${id} has not ended`);
};
