import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Client } from './client.mjs';
import { authUrl } from './clients.mjs';
import { file } from './home.mjs';

/** Name, vCPUs, memory in MiB, root disk in GiB. */
const FLAVORS = [
  ['m1.nano', 1, 128, 1],
  ['m1.micro', 1, 192, 1],
  ['m1.tiny', 1, 512, 1],
  ['m1.small', 1, 2048, 20],
  ['m1.medium', 2, 4096, 40],
  ['m1.large', 4, 8192, 80],
  ['m1.xlarge', 8, 16384, 160],
];

export const IMAGE_NAME = 'omnivisor-test';
export const NETWORK_NAME = 'demo-net';
const STEPS = 'bootstrap.json';

/** @param {string} data @returns {Record<string, boolean>} */
const stepsDone = (data) => {
  const path = join(data, STEPS);
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {};
};

/** Whether a step of the bootstrap is behind this cloud. @param {string} data its data folder @param {string} step */
export const bootstrapDone = (data, step) => stepsDone(data)[step] === true;

/**
 * What a new cloud has so that it can be used at once. Everything goes through the public API. Each step is done once
 * in the life of the cloud: what its users remove later stays removed; a step that broke off finds what it made.
 */
export class Bootstrap {
  /** @param {{ home: import('./home.mjs').Home, publicUrl: string, admin: import('./clients.mjs').Login, demo: import('./clients.mjs').Login }} options */
  constructor({ home, publicUrl, admin, demo }) {
    this.home = home;
    this.publicUrl = publicUrl;
    this.logins = { admin, demo };
    this.path = join(home.data, STEPS);
    this.done = stepsDone(home.data);
  }

  #login(name) {
    return new Client({ authUrl: authUrl(this.publicUrl), ...this.logins[name] }).authenticate();
  }

  async #once(step, work) {
    if (this.done[step]) return;
    await work();
    this.done[step] = true;
    file(this.path, `${JSON.stringify(this.done, null, 1)}\n`, 0o644, undefined);
  }

  /** The admin can log in: the cloud answers. */
  async answers(timeout = 30_000) {
    const end = Date.now() + timeout;
    for (;;)
      try {
        return await this.#login('admin');
      } catch (error) {
        if (Date.now() > end) throw error;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
  }

  async demoProject(admin) {
    await this.#once('project', async () => {
      const { username, password, project } = this.logins.demo;
      const find = async (kind, name) =>
        (await admin.get('identity', `/${kind}?name=${encodeURIComponent(name)}`))[kind][0];
      const theProject =
        (await find('projects', project)) ??
        (
          await admin.post('identity', '/projects', {
            project: { name: project, domain_id: 'default', description: 'For trying things out' },
          })
        ).project;
      const found = await find('users', username);
      const user =
        found ??
        (
          await admin.post('identity', '/users', {
            user: { name: username, password, domain_id: 'default', default_project_id: theProject.id },
          })
        ).user;
      const role = await find('roles', 'member');
      if (!role) throw new Error('the cloud has no role "member"');
      await admin.put('identity', `/projects/${theProject.id}/users/${user.id}/roles/${role.id}`);
    });
  }

  async flavors(admin) {
    await this.#once('flavors', async () => {
      const { flavors } = await admin.get('compute', '/flavors?is_public=None');
      for (const [index, [name, vcpus, ram, disk]] of FLAVORS.entries())
        if (!flavors.some((f) => f.name === name))
          await admin.post('compute', '/flavors', { flavor: { id: String(index + 1), name, vcpus, ram, disk } });
    });
  }

  async network() {
    await this.#once('network', async () => {
      const demo = await this.#login('demo');
      const [found] = (await demo.get('network', `/networks?name=${NETWORK_NAME}`)).networks;
      const network = found ?? (await demo.post('network', '/networks', { network: { name: NETWORK_NAME } })).network;
      const { subnets } = await demo.get('network', `/subnets?network_id=${network.id}`);
      if (subnets.length === 0)
        await demo.post('network', '/subnets', {
          subnet: { name: 'demo-subnet', network_id: network.id, ip_version: 4, cidr: '10.77.0.0/24' },
        });
    });
  }

  /** @param {() => Promise<string>} built gives the file of the image */
  async image(admin, built) {
    await this.#once('image', async () => {
      const path = await built();
      const { images } = await admin.get('image', `/images?name=${IMAGE_NAME}`);
      const found = images.find((i) => i.status === 'active');
      if (found) return;
      for (const half of images) await admin.delete('image', `/images/${half.id}`);
      const image = await admin.post('image', '/images', {
        name: IMAGE_NAME,
        disk_format: 'qcow2',
        container_format: 'bare',
        visibility: 'public',
        min_ram: 128,
        min_disk: 1,
        architecture: 'x86_64',
        os_type: 'linux',
      });
      await admin.put('image', `/images/${image.id}/file`, Readable.toWeb(createReadStream(path)), {
        'content-type': 'application/octet-stream',
      });
    });
  }
}
