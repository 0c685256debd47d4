import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { uuid } from '../../drivers/common/nft/values.js';

const hash = (text: string, length: number) => createHash('sha256').update(text).digest('hex').slice(0, length);

/** Names and paths that all agents of a cloud on one machine share, derived from the cloud and the network. */
export class Names {
  /** Eight hexadecimal digits that stand for the cloud. */
  readonly cloud: string;

  constructor(
    cloudId: string,
    readonly root: string,
  ) {
    this.cloud = hash(cloudId, 8);
  }

  /** Prefix of our namespaces. */
  get prefix(): string {
    return `omv-${this.cloud}-`;
  }
  netns(networkId: string): string {
    return `${this.prefix}${uuid(networkId)}`;
  }
  /** Our end of a network's veth in the root namespace. */
  outside(networkId: string): string {
    return `ov${this.cloud.slice(0, 4)}${hash(networkId, 8)}`;
  }
  /** Our end of a network's veth to a bridge of the machine. */
  uplink(networkId: string): string {
    return `ou${this.cloud.slice(0, 4)}${hash(networkId, 8)}`;
  }
  get outsidePrefix(): string {
    return `ov${this.cloud.slice(0, 4)}`;
  }
  /** Our table in the root namespace. */
  get rootTable(): string {
    return `omnivisor_${this.cloud}`;
  }
  tap(portId: string): string {
    return `tap${uuid(portId).slice(0, 11)}`;
  }
  /** Of a port that another agent of the machine has, too: its guest is on its way from one to the other. */
  secondTap(portId: string, agent: string): string {
    return `tap${uuid(portId).slice(0, 6)}${hash(agent, 5)}`;
  }
  get directory(): string {
    return join(this.root, this.cloud);
  }
  networkDirectory(networkId: string): string {
    return join(this.directory, uuid(networkId));
  }
  portFile(networkId: string, portId: string): string {
    return join(this.networkDirectory(networkId), 'ports', `${uuid(portId)}.json`);
  }
  secondPortFile(networkId: string, portId: string, agent: string): string {
    return join(this.networkDirectory(networkId), 'ports', `${uuid(portId)}-${hash(agent, 12)}.json`);
  }
  /** Where an agent answers the metadata requests of its guests. */
  agentSocket(agent: string): string {
    return join(this.directory, `agent-${hash(agent, 12)}.sock`);
  }
  /** One of a few that networks share: a lock file cannot be removed while somebody may wait for it. */
  lock(networkId: string): string {
    return join(this.directory, `lock-${hash(uuid(networkId), 2)}`);
  }
  get groupsDirectory(): string {
    return join(this.root, `${this.cloud}-groups`);
  }
  /** Members of a security group, as the newest answer to any of the agents had them. */
  groupFile(groupId: string): string {
    return join(this.groupsDirectory, `${uuid(groupId)}.json`);
  }
  get groupsLock(): string {
    return join(this.root, `${this.cloud}-groups.lock`);
  }
  /** One for all clouds of the machine: guards the pool of outside addresses. */
  get machineLock(): string {
    return join(this.root, 'machine.lock');
  }
}
