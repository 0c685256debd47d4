import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Client } from '../start/client.mjs';
import { guestProcesses } from '../start/guests.mjs';
import { type ApiServer, eventually } from './running-cloud.js';

const run = promisify(execFile);
type Api = InstanceType<typeof Client>;

/** Network namespaces and taps of this machine. */
export const hostNetwork = async (): Promise<string[]> => {
  const namespaces = (await run('ip', ['netns', 'list'])).stdout.split('\n').map((line) => line.split(' ')[0]!);
  const links = (await run('ip', ['-br', 'link'])).stdout.split('\n').map((line) => line.split(/[ @]/)[0]!);
  return [...namespaces, ...links].filter((name) => name !== '').sort();
};

/** What clouds have on this machine beside their processes: namespaces, links and nft tables that are not of the system. */
export const cloudNetwork = async (): Promise<string[]> => {
  const tables = (await run('nft', ['list', 'tables'])).stdout.split('\n').filter((line) => line.includes('omnivisor'));
  const ours = (await hostNetwork()).filter((name) => /^(omv-|ov[0-9a-f]{12}|tap)/.test(name));
  return [...ours, ...tables].sort();
};

/** A user with a key, a group that lets ssh in, and guests on the demo network. */
export class GuestUser {
  private constructor(
    public api: Api,
    readonly folder: string,
    readonly network: string,
    private readonly image: string,
    private readonly flavor: string,
  ) {}

  static async of(api: Api): Promise<GuestUser> {
    const folder = mkdtempSync(join(tmpdir(), 'ov-guest-'));
    const key = join(folder, 'key');
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
    const publicKey = readFileSync(`${key}.pub`, 'utf8');
    await api.post('compute', '/os-keypairs', { keypair: { name: 'e2e', type: 'ssh', public_key: publicKey } });
    const { security_group: group } = await api.post('network', '/security-groups', {
      security_group: { name: 'e2e' },
    });
    await api.post('network', '/security-group-rules', {
      security_group_rule: {
        security_group_id: group.id,
        direction: 'ingress',
        ethertype: 'IPv4',
        protocol: 'tcp',
        port_range_min: 22,
        port_range_max: 22,
      },
    });
    const { networks } = await api.get('network', '/networks?name=demo-net');
    const { images } = await api.get('image', '/images?name=omnivisor-test');
    const { flavors } = await api.get('compute', '/flavors');
    const flavor = flavors.find((f: { name: string }) => f.name === 'm1.nano');
    return new GuestUser(api, folder, networks[0].id, images[0].id, flavor.id);
  }

  async create(name: string, more: object = {}, hints: object = {}): Promise<string> {
    const { server } = await this.api.post('compute', '/servers', {
      'os:scheduler_hints': hints,
      server: {
        name,
        imageRef: this.image,
        flavorRef: this.flavor,
        key_name: 'e2e',
        networks: [{ uuid: this.network }],
        security_groups: [{ name: 'e2e' }],
        ...more,
      },
    });
    return server.id;
  }

  /** The image of guests to come says that an agent is in it. */
  async hasAgent(admin: Api): Promise<void> {
    const patch = [{ op: 'add', path: '/hw_qemu_guest_agent', value: 'yes' }];
    const type = { 'content-type': 'application/openstack-images-v2.1-json-patch' };
    await admin.request('PATCH', 'image', `/images/${this.image}`, patch, type);
  }

  async show(id: string): Promise<ApiServer> {
    return (await this.api.get('compute', `/servers/${id}`)).server;
  }

  /** The image that a server was made of. */
  async original(id: string): Promise<{ imageRef: string }> {
    const { server } = await this.api.get('compute', `/servers/${id}`);
    return { imageRef: server.image.id };
  }

  act(id: string, action: object): Promise<unknown> {
    return this.api.post('compute', `/servers/${id}/action`, action);
  }

  reaches(id: string, status: string, seconds = 60): Promise<ApiServer> {
    return eventually(
      `${id} is ${status}`,
      () => this.show(id),
      (s) => s.status === status && s['OS-EXT-STS:task_state'] === null,
      seconds,
    );
  }

  async console(id: string): Promise<string> {
    return (await this.api.post('compute', `/servers/${id}/action`, { 'os-getConsoleOutput': {} })).output;
  }

  says(id: string, what: RegExp, seconds = 60): Promise<string> {
    return eventually(
      `the console says ${what}`,
      () => this.console(id),
      (text) => what.test(text),
      seconds,
    );
  }

  /** Output of a command in the guest, over ssh from inside its network; asked again until it can be reached. */
  ssh(address: string, command: string, seconds = 40): Promise<string> {
    const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'ConnectTimeout=3', 'BatchMode=yes'];
    const login = ['-i', join(this.folder, 'key'), ...options.flatMap((o) => ['-o', o]), `root@${address}`, command];
    return eventually(
      `ssh ${address} ${command}`,
      async () => {
        const names = (await hostNetwork()).filter((name) => name.includes(this.network.slice(0, 8)));
        const namespaces = names.filter((name, i) => names.indexOf(name) === i);
        if (namespaces.length === 0) throw new Error('no network namespace');
        const tries = namespaces.map((name) =>
          run('ip', ['netns', 'exec', name, 'ssh', ...login], { timeout: 15_000 }),
        );
        return (await Promise.any(tries)).stdout.trim();
      },
      () => true,
      seconds,
    );
  }

  async remove(id: string): Promise<void> {
    await this.api.delete('compute', `/servers/${id}`);
    await eventually(
      `${id} is gone`,
      () =>
        this.show(id).then(
          () => 200,
          (error: { status: number }) => error.status,
        ),
      (status) => status === 404,
    );
  }

  async forget(): Promise<void> {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** QEMU's pid by the id of its server. */
export const guestPids = (home: string, ids: readonly string[]): Record<string, number> =>
  Object.fromEntries(
    guestProcesses(home).flatMap(({ pid }) => {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      const id = ids.find((one) => line.includes(one));
      return id ? [[id, pid]] : [];
    }),
  );
