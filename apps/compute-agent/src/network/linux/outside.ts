import { cidr } from '../../drivers/common/nft/values.js';
import { rootFilter } from './filter.js';
import type { Names } from './names.js';
import { run, succeeds, withLock } from './run.js';

const number = (address: string) => address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
const text = (n: number) => [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join('.');

/**
 * The way out of a network: one veth to the root namespace with two addresses of a pool of our own, translated there
 * to the machine's addresses. The veths and one nft table are all that we have in the root namespace.
 */
export class Outside {
  constructor(
    private readonly names: Names,
    private readonly pool: string,
  ) {}

  async connect(networkId: string, netns: string): Promise<void> {
    if (await succeeds(['ip', '-n', netns, 'link', 'show', 'dev', 'outside'])) return;
    const device = this.names.outside(networkId);
    await withLock(this.names.machineLock, async () => {
      const [ours, theirs] = await this.freePair();
      await succeeds(['ip', 'link', 'delete', 'dev', device]);
      await run(['nft', '-f', '-'], rootFilter(this.names.rootTable, this.pool, this.names.outsidePrefix));
      await run(['ip', 'link', 'add', 'name', device, 'type', 'veth', 'peer', 'name', 'outside', 'netns', netns]);
      await run(['ip', 'addr', 'add', `${ours}/31`, 'dev', device]);
      await run(['ip', 'link', 'set', 'dev', device, 'up']);
      await run(['ip', '-n', netns, 'addr', 'add', `${theirs}/31`, 'dev', 'outside']);
      await run(['ip', '-n', netns, 'link', 'set', 'dev', 'outside', 'up']);
      await run(['ip', '-n', netns, 'route', 'replace', 'default', 'via', ours]);
      // Networks get out only where the machine forwards.
      if ((await run(['sysctl', '-n', 'net.ipv4.ip_forward'])).trim() !== '1')
        await run(['sysctl', '-qw', 'net.ipv4.ip_forward=1']);
    });
  }

  /** The table goes with the last network of the cloud. */
  async disconnect(networkId: string): Promise<void> {
    await withLock(this.names.machineLock, async () => {
      await succeeds(['ip', 'link', 'delete', 'dev', this.names.outside(networkId)]);
      const links = JSON.parse(await run(['ip', '-j', 'link', 'show'])) as { ifname: string }[];
      if (!links.some(({ ifname }) => ifname.startsWith(this.names.outsidePrefix))) await this.removeTable();
    });
  }

  /** @returns whether it was there */
  removeTable(): Promise<boolean> {
    return succeeds(['nft', 'delete', 'table', 'ip', this.names.rootTable]);
  }

  /** The first two neighbours of the pool that no device of the root namespace has, of whatever cloud. */
  private async freePair(): Promise<[string, string]> {
    const links = JSON.parse(await run(['ip', '-j', '-4', 'addr', 'show'])) as { addr_info?: { local: string }[] }[];
    const used = new Set(links.flatMap((l) => (l.addr_info ?? []).map((a) => number(a.local))));
    const [base = '', prefix = '16'] = cidr(this.pool).split('/');
    const size = 2 ** (32 - Number(prefix));
    for (let n = number(base); n + 1 < number(base) + size; n += 2)
      if (!used.has(n) && !used.has(n + 1)) return [text(n), text(n + 1)];
    throw new Error(`the pool ${this.pool} has no addresses left`);
  }
}
