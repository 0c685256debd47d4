import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { RecordedEvent } from '@omnivisor/contracts';
import { type ApiServer, type CloudOptions, eventually, RunningCloud } from '../e2e/running-cloud.js';
import { Random } from '../simulate/faults/random.js';
import { mountFile, system, VolatileDisk } from './disk.js';
import { FAR, FarHost } from './far-host.js';
import { Guests } from './guests.js';
import { type Found, unsettled } from './judge.js';
import { Load } from './load.js';

const POWER: Readonly<Record<string, Found['power']>> = { ACTIVE: 'running', SHUTOFF: 'shutdown', ERROR: 'other' };

const ENOUGH = 1_000_000;

export interface Disks {
  readonly store: { readonly folder: string; readonly disk: VolatileDisk };
  /** Folder of the bus. */
  readonly bus: string;
}

export const SERVICES = [
  'api-gateway-1',
  'api-gateway-2',
  'scheduler',
  'image-service',
  'agent',
  'nats',
  'postgres',
] as const;
/** `agent` is the one with most guests. */
export type Service = (typeof SERVICES)[number];

/** A cloud of fake hosts that can be put under load, and asked for all that an auditor could want to know. */
export class ChaosCloud {
  private farHost: FarHost | undefined;

  private constructor(
    readonly cloud: RunningCloud,
    readonly guests: Guests,
    readonly load: Load,
    /** PostgreSQL's data and NATS's data; null where this process may not mount. */
    readonly disks: Disks | null,
  ) {}

  static async start(options: CloudOptions, seed: number): Promise<ChaosCloud> {
    const { gateways = 2 } = options;
    let disks: Disks | null = null;
    const prepare = async (home: string) => {
      if (canMount) disks = await mountDisks(home);
    };
    const cloud = await RunningCloud.start({ fakeHosts: 3, ...options, gateways, prepare });
    try {
      const { admin } = cloud;
      await admin.put('compute', `/os-quota-sets/${admin.projectId}`, {
        quota_set: { instances: ENOUGH, cores: ENOUGH, ram: ENOUGH },
      });
      await admin.put('network', `/quotas/${admin.projectId}`, { quota: { port: ENOUGH } });
      const { network } = await admin.post('network', '/networks', { network: { name: 'chaos' } });
      await admin.post('network', '/subnets', {
        subnet: { network_id: network.id, ip_version: 4, cidr: '10.80.0.0/16' },
      });
      const { flavors } = await admin.get('compute', '/flavors');
      const server = {
        imageRef: await cloud.emptyImage(),
        flavorRef: flavors.find((f: { name: string }) => f.name === 'm1.nano').id,
        networks: [{ uuid: network.id }],
      };
      const origins = Array.from({ length: gateways }, (_, i) => `http://127.0.0.1:${cloud.port + i}`);
      const load = new Load({ origins, token: admin.token, server }, new Random(seed, 'load'));
      return new ChaosCloud(cloud, new Guests(join(cloud.home, 'data', 'agents')), load, disks);
    } catch (error) {
      await cloud.stop();
      throw error;
    }
  }

  /** The host at the end of a cable: it is there from the first question for it. */
  async far(): Promise<FarHost> {
    this.farHost ??= await FarHost.start(this.cloud);
    this.guests.watch();
    return this.farHost;
  }

  async pidOf(name: Service | 'supervisor'): Promise<number> {
    const real = name === 'agent' ? this.guests.byAgent().find(([agent]) => agent !== FAR)![0] : name;
    const pid = (await this.cloud.pids())[real];
    if (!pid) throw new Error(`${real} does not run`);
    return pid;
  }

  /** Waits until the supervisor has started again what was that process. */
  async startedAgain(pid: number): Promise<void> {
    await eventually(
      'what was ended is started again',
      async () => Object.values(await this.cloud.pids()),
      (pids) => pids.every((other) => other !== null && other !== pid),
    );
  }

  /** Asks a service to end in order; its supervisor starts it again. */
  async restart(name: Service): Promise<void> {
    const pid = await this.pidOf(name);
    process.kill(pid, 'SIGTERM');
    await this.startedAgain(pid);
  }

  async servers(): Promise<ApiServer[]> {
    return (await this.cloud.admin.get('compute', '/servers/detail')).servers;
  }

  /** Servers as the API shows them. */
  async found(): Promise<Found[]> {
    return (await this.servers()).map((s) => ({ serverId: s.id, power: POWER[s.status] ?? 'other' }));
  }

  /** Nothing runs any more, what runs on the hosts is what the API says, and no claim is left over. */
  async atRest(seconds = 60): Promise<void> {
    const deadline = Date.now() + seconds * 1_000;
    const left = () => (deadline - Date.now()) / 1_000;
    await eventually(
      'every server is at rest',
      () => this.servers(),
      (all) => all.every((s) => s['OS-EXT-STS:task_state'] === null && s.status in POWER),
      left(),
    );
    await eventually(
      'guests are what the API says',
      async () => ({
        guests: keys(this.guests.now()),
        servers: keys((await this.found()).filter((s) => s.power !== 'other')),
      }),
      ({ guests, servers }) => guests.join() === servers.join(),
      left(),
    );
    await eventually(
      'no claim is left over',
      () => this.claimed(),
      (vcpus) => vcpus === this.guests.now().length,
      left(),
    );
  }

  /** vCPUs claimed on all hosts: one for each server of this flavor. */
  private async claimed(): Promise<number> {
    const { admin } = this.cloud;
    const { resource_providers: providers } = await admin.get('placement', '/resource_providers');
    let vcpus = 0;
    for (const { uuid } of providers)
      vcpus += (await admin.get('placement', `/resource_providers/${uuid}/usages`)).usages.VCPU ?? 0;
    return vcpus;
  }

  /** The whole log. */
  async log(): Promise<RecordedEvent[]> {
    const file = join(this.cloud.home, 'chaos.jsonl');
    rmSync(file, { force: true });
    await this.cloud.omnivisor('audit', 'export', '--format', 'jsonl', '--out', file);
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as RecordedEvent);
  }

  /** Quotas are settled, read models equal a replay, and the log is what was signed. @returns what is not so */
  async audited(): Promise<string[]> {
    const wrong: string[] = [];
    await eventually(
      'quotas are settled',
      async () => unsettled(await this.log()),
      (left) => left.length === 0,
      90,
    ).catch((error: Error) => wrong.push(error.message));
    for (const [verb, expected] of [
      ['replay', /^equal/],
      ['verify', /^ok/],
    ] as const) {
      const said = await this.cloud.omnivisor('audit', verb).then(
        ({ stdout }) => stdout,
        (error: Error) => error.message,
      );
      if (!expected.test(said)) wrong.push(`audit ${verb}: ${said.trim()}`);
    }
    return wrong;
  }

  async stop(): Promise<void> {
    this.guests.close();
    await this.farHost?.close();
    // Guests are files: nobody has to power them off.
    await this.cloud.halt();
    if (this.disks) for (const folder of [this.disks.store.folder, this.disks.bus]) await system('umount', folder);
    await this.disks?.store.disk.powerOff();
    this.cloud.remove();
  }
}

/** Set by the program that gave us a mount namespace of our own. */
export const canMount = process.env.OMNIVISOR_CHAOS_MOUNTS === '1';

const mountDisks = async (home: string): Promise<Disks> => {
  const store = join(home, 'data', 'postgres');
  const bus = join(home, 'data', 'nats');
  // The bus takes no stream that the disk has no room for: the log's may have 1 GiB.
  await mountFile(join(home, 'bus-disk'), bus, 3_072);
  return { store: { folder: store, disk: await VolatileDisk.mount(join(home, 'disk'), store, 1_024) }, bus };
};

const keys = (all: readonly Found[]) => all.map(({ serverId, power }) => `${serverId} ${power}`).sort();
