import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { RecordedEvent } from '@omnivisor/contracts';
import { type ApiServer, type CloudOptions, eventually, RunningCloud } from '../e2e/running-cloud.js';
import { Random } from '../simulate/faults/random.js';
import { Guests } from './guests.js';
import type { Found } from './judge.js';
import { Load } from './load.js';

const POWER: Readonly<Record<string, Found['power']>> = { ACTIVE: 'running', SHUTOFF: 'shutdown', ERROR: 'other' };

const ENOUGH = 1_000_000;

/** A cloud of fake hosts that can be put under load, and asked for all that an auditor could want to know. */
export class ChaosCloud {
  private constructor(
    readonly cloud: RunningCloud,
    readonly guests: Guests,
    readonly load: Load,
  ) {}

  static async start(options: CloudOptions, seed: number): Promise<ChaosCloud> {
    const { gateways = 2 } = options;
    const cloud = await RunningCloud.start({ fakeHosts: 3, ...options, gateways });
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
      return new ChaosCloud(cloud, new Guests(join(cloud.home, 'data', 'agents')), load);
    } catch (error) {
      await cloud.stop();
      throw error;
    }
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

  /** Read models equal a replay, and the log is what was signed. @returns what is not so */
  async audited(): Promise<string[]> {
    const wrong: string[] = [];
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
    await this.cloud.stop();
  }
}

const keys = (all: readonly Found[]) => all.map(({ serverId, power }) => `${serverId} ${power}`).sort();
