import { type AssignmentEvent, assignmentEvents, type RoleAssignment } from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';

/** The roles of one user or group, by `assignmentKey`. */
export type Assignments = ReadonlyMap<string, RoleAssignment>;

export const assignmentKey = (a: RoleAssignment): string =>
  `${a.actorKind}/${a.actorId}/${a.scope.kind}/${a.scope.id}/${a.roleId}${a.inherited ? '/inherited' : ''}`;

export interface AssignmentCommand {
  readonly type: 'assign' | 'unassign';
  readonly assignments: readonly RoleAssignment[];
}

export const assignments: Aggregate<Assignments, AssignmentCommand, AssignmentEvent> = {
  events: assignmentEvents,
  initial: new Map(),
  decide: (command, state) =>
    command.assignments
      .filter((a) => state.has(assignmentKey(a)) === (command.type === 'unassign'))
      .map((data) => ({ type: command.type === 'assign' ? 'RoleAssigned' : 'RoleUnassigned', data })),
  evolve: (state, event) => {
    const next = new Map(state);
    if (event.type === 'RoleAssigned') next.set(assignmentKey(event.data), event.data);
    else next.delete(assignmentKey(event.data));
    return next;
  },
};
