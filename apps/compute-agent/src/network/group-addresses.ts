import type { GroupMembers } from './network-plug.js';

/** Who is in the security groups that rules name, in memory: an agent that starts is told all of them. */
export class GroupAddressBook {
  /** Addresses by group and port. */
  private readonly groups = new Map<string, Map<string, readonly string[]>>();

  take(groups: readonly GroupMembers[]): void {
    for (const { securityGroupId, whole, members } of groups) {
      const known = (!whole && this.groups.get(securityGroupId)) || new Map<string, readonly string[]>();
      for (const { portId, addresses } of members)
        if (addresses.length === 0) known.delete(portId);
        else known.set(portId, addresses);
      this.groups.set(securityGroupId, known);
    }
  }

  addressesOf(group: string): string[] {
    return [...(this.groups.get(group)?.values() ?? [])].flat();
  }
}
