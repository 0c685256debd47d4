import { mkdir, rm } from 'node:fs/promises';
import type { GroupAddresses } from '../../drivers/common/nft/security-groups.js';
import type { GroupMembers } from '../network-plug.js';
import type { Names } from './names.js';
import { read, store } from './network-files.js';
import { withLock } from './run.js';

/** Members of security groups, in files that all agents of the machine share. */
export class Groups {
  constructor(private readonly names: Names) {}

  async take(groups: readonly GroupMembers[]): Promise<void> {
    await mkdir(this.names.groupsDirectory, { recursive: true, mode: 0o755 });
    await withLock(this.names.groupsLock, async () => {
      for (const { securityGroupId: id, whole, members } of groups) {
        const known = whole ? {} : await this.stored(id);
        for (const { portId, addresses } of members)
          if (addresses.length > 0) known[portId] = addresses;
          else delete known[portId];
        await store(this.names.groupFile(id), JSON.stringify(known));
      }
    });
  }

  async addresses(ids: readonly string[]): Promise<GroupAddresses> {
    const addresses = new Map<string, string[]>();
    for (const id of ids) addresses.set(id, Object.values(await this.stored(id)).flat());
    return addresses;
  }

  async removeAll(): Promise<void> {
    await rm(this.names.groupsDirectory, { recursive: true, force: true });
  }

  /** Addresses of a group's members, by port. */
  private async stored(id: string): Promise<Record<string, string[]>> {
    const text = await read(this.names.groupFile(id));
    return text === null ? {} : (JSON.parse(text) as Record<string, string[]>);
  }
}
