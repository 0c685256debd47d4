import { type ServerGroupEvent, type ServerGroupPolicy, serverGroupEvents } from '@omnivisor/contracts';

/** A group of servers that are placed together or apart, as far as placement cares. */
export interface ServerGroup {
  readonly policy: ServerGroupPolicy;
  /** anti-affinity: how many members may share a host. */
  readonly maxPerHost: number;
  readonly members: ReadonlySet<string>;
}

const types = new Set(Object.keys(serverGroupEvents.events));
export const isServerGroupEvent = (event: { readonly type: string }): event is ServerGroupEvent =>
  types.has(event.type);

/** The groups of all projects, as a fold of the log. */
export class ServerGroups {
  private readonly groups = new Map<string, ServerGroup & { readonly members: Set<string> }>();

  *entries(): Iterable<readonly [groupId: string, group: ServerGroup]> {
    for (const [id, group] of this.groups) yield [id, { ...group, members: new Set(group.members) }];
  }

  put(groupId: string, group: ServerGroup): void {
    this.groups.set(groupId, { ...group, members: new Set(group.members) });
  }

  get(groupId: string): ServerGroup | undefined {
    return this.groups.get(groupId);
  }

  apply({ type, data }: ServerGroupEvent): void {
    switch (type) {
      case 'ServerGroupCreated':
        this.groups.set(data.groupId, {
          policy: data.policy,
          maxPerHost: data.maxServerPerHost ?? 1,
          members: new Set(),
        });
        return;
      case 'ServerGroupMemberAdded':
        this.groups.get(data.groupId)?.members.add(data.serverId);
        return;
      case 'ServerGroupMemberRemoved':
        this.groups.get(data.groupId)?.members.delete(data.serverId);
        return;
      case 'ServerGroupDeleted':
        this.groups.delete(data.groupId);
    }
  }
}
