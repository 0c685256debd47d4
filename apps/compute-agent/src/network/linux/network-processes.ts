import { spawn } from 'node:child_process';
import { readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { uuid } from '../../drivers/common/nft/values.js';
import type { NetworkPlan, PortPlug } from '../network-plug.js';
import {
  addressesChangedHands,
  dnsmasqConfiguration,
  dnsmasqHosts,
  dnsmasqOptions,
  reachableResolvers,
} from './dnsmasq.js';
import { METADATA_ADDRESS, METADATA_ADDRESS_6 } from './filter.js';
import { METADATA_PROXY, METADATA_PROXY_VERSION } from './metadata-proxy.js';
import { read, store } from './network-files.js';
import { end, isAlive, run } from './run.js';

/**
 * The processes of one network: DHCP with names, and metadata. They run in its namespace and outlive the agents. A
 * physical network has what it has of them elsewhere.
 */
export class NetworkProcesses {
  constructor(
    /** Folder of the network. */
    private readonly folder: string,
    private readonly netns: string,
    private readonly dnsmasqUser: string,
  ) {}

  async serve(plan: NetworkPlan, plugs: readonly PortPlug[]): Promise<void> {
    await this.serveDhcp(plan, plugs);
    if (!plan.provider) await this.serveMetadata(plan);
  }

  /** True while both are there. Asks no other process. */
  async areServing(plan: NetworkPlan): Promise<boolean> {
    if (plan.provider) return true;
    return (await this.running('dnsmasq.pid', 'dnsmasq')) !== null && (await this.metadata(plan)) !== null;
  }

  async end(): Promise<void> {
    // They name the folder; guests run in this namespace too and do not.
    const inside = (await run(['ip', 'netns', 'pids', this.netns]).catch(() => '')).split('\n').map(Number);
    for (const pid of inside) if (pid > 1 && (await commandLine(pid)).includes(this.folder)) await end(pid);
  }

  /** Starts DHCP, or tells it which ports are plugged now. */
  async serveDhcp(plan: NetworkPlan, plugs: readonly PortPlug[]): Promise<void> {
    if (plan.provider) return;
    const files = {
      hosts: join(this.folder, 'hosts'),
      options: join(this.folder, 'options'),
      pid: join(this.folder, 'dnsmasq.pid'),
      leases: join(this.folder, 'leases'),
    };
    const resolvers = await resolversOfMachine();
    const configuration = join(this.folder, 'dnsmasq.conf');
    const served = join(this.folder, 'served');
    const before = (await read(served)) ?? '';
    const hosts = dnsmasqHosts(plan, plugs);
    const hostsChanged = await store(files.hosts, hosts);
    const optionsChanged = await store(files.options, dnsmasqOptions(plugs));
    const settings = { user: this.dnsmasqUser, resolvers };
    const changed = await store(configuration, dnsmasqConfiguration(plan, files, settings));
    const pid = await this.running('dnsmasq.pid', 'dnsmasq');
    if (pid !== null && !changed && !addressesChangedHands(before, hosts)) {
      // It remembers the leases of ports that are gone until it is started again.
      await store(served, [...new Set(`${before}${hosts}`.split(/(?<=\n)/))].join(''));
      if (hostsChanged || optionsChanged) process.kill(pid, 'SIGHUP');
      return;
    }
    await store(served, hosts);
    if (pid !== null) await end(pid);
    await run(['ip', 'netns', 'exec', this.netns, 'dnsmasq', `--conf-file=${configuration}`]);
  }

  private metadata(plan: NetworkPlan): Promise<number | null> {
    return this.running('metadata.pid', `${METADATA_PROXY_VERSION} ${metadataAddresses(plan)}`);
  }

  private async serveMetadata(plan: NetworkPlan): Promise<void> {
    if ((await this.metadata(plan)) !== null) return;
    const older = await this.running('metadata.pid', plan.networkId);
    if (older !== null) await end(older);
    const program = ['--max-old-space-size=32', '--input-type=module', '--eval', METADATA_PROXY, '--'];
    const args = [METADATA_PROXY_VERSION, metadataAddresses(plan), uuid(plan.networkId), join(this.folder, 'ports')];
    const child = spawn('ip', ['netns', 'exec', this.netns, process.execPath, ...program, ...args], {
      detached: true,
      stdio: 'ignore',
      cwd: '/',
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', () => resolve());
      child.once('error', reject);
    });
    child.unref();
    // `ip netns exec` becomes the program: the process keeps its id.
    await store(join(this.folder, 'metadata.pid'), `${child.pid}\n`);
  }

  /** Process of a pid file, when it is alive and really the one: in our namespace, with `mark` in its command line. */
  private async running(pidFile: string, mark: string): Promise<number | null> {
    const pid = Number((await read(join(this.folder, pidFile)))?.trim());
    if (!Number.isInteger(pid) || pid <= 1 || !isAlive(pid)) return null;
    const line = await commandLine(pid);
    // Before it has become the program it still stands outside, and names where it goes.
    return line.includes(mark) && (line.includes(this.netns) || (await isInside(pid, this.netns))) ? pid : null;
  }
}

/** Arguments of a process, with spaces between; empty when it is gone. */
const commandLine = async (pid: number): Promise<string> =>
  ((await read(`/proc/${pid}/cmdline`)) ?? '').replaceAll('\0', ' ');

const isInside = async (pid: number, netns: string): Promise<boolean> => {
  try {
    return (await readlink(`/proc/${pid}/ns/net`)) === `net:[${(await stat(`/run/netns/${netns}`)).ino}]`;
  } catch {
    return false; // one of them is gone
  }
};

const metadataAddresses = ({ subnets }: NetworkPlan): string =>
  [METADATA_ADDRESS, ...(subnets.some((s) => s.version === 6) ? [`${METADATA_ADDRESS_6}%br0`] : [])].join(',');

/** Where a stub on the loopback is all that resolv.conf names, systemd-resolved tells whom it asks. */
const resolversOfMachine = async (): Promise<string[]> => {
  const own = reachableResolvers((await read('/etc/resolv.conf')) ?? '');
  return own.length > 0 ? own : reachableResolvers((await read('/run/systemd/resolve/resolv.conf')) ?? '');
};
