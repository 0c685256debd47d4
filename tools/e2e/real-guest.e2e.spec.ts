import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ApiServer, eventually, RunningCloud } from './running-cloud.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const root = process.getuid?.() === 0;
if (!root) console.log('skipped: real guests need root for their networks');

/** Pids of QEMU processes whose command line names `text`. */
const qemus = (text: string): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const line = readFileSync(`/proc/${name}/cmdline`, 'utf8');
        return line.includes('qemu-system') && line.includes(text);
      } catch {
        return false; // ended meanwhile
      }
    })
    .map(Number);

describe.skipIf(!root)('a real guest on QEMU', () => {
  let cloud: RunningCloud;
  let client: Awaited<ReturnType<RunningCloud['demo']>>;
  let id: string;

  beforeAll(async () => {
    cloud = await RunningCloud.start({ agents: 1 });
    client = await cloud.demo();
  }, 300_000);
  afterAll(() => cloud?.stop(), 120_000);

  const show = async (): Promise<ApiServer> => (await client.get('compute', `/servers/${id}`)).server;
  const action = (body: object) => client.post('compute', `/servers/${id}/action`, body);
  const until = (status: string) =>
    eventually(`it is ${status}`, show, (s) => s.status === status && s['OS-EXT-STS:task_state'] === null, 120);
  const console_ = async (): Promise<string> => (await action({ 'os-getConsoleOutput': { length: 200 } })).output;

  it('boots, has address and metadata, is logged into by ssh, and its story stands in the log', async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ['tools/demo/demo.mjs'], {
      cwd: ROOT,
      env: { ...process.env, OMNIVISOR_HOME: cloud.home },
      timeout: 120_000,
    });
    expect(stdout).toContain('finished: Datasource MetadataService');
    expect(stdout).toMatch(/logged in as root/);
    for (const event of ['ServerCreateRequested', 'AllocationClaimed', 'ServerScheduled', 'ServerSpawned'])
      expect(stdout).toContain(event);
  }, 180_000);

  it('boots from a kernel and a RAM disk beside its disk, as images of the AMI kind do', async () => {
    const { images } = await client.get('image', '/images?name=omnivisor-test');
    const exported = async (format: string) => {
      const url = `${client.endpoint('image')}/images/${images[0].id}/os-omnivisor-export/${format}`;
      const answer = await eventually(
        `${format} is made`,
        () => fetch(url, { headers: { 'x-auth-token': client.token } }),
        (response) => response.ok,
        60,
      );
      return Buffer.from(await answer.arrayBuffer());
    };
    const uploaded = async (format: string, properties: Record<string, string> = {}) => {
      const about = { name: `test-${format}`, disk_format: format, container_format: format, ...properties };
      const { id: image } = await client.post('image', '/images', about);
      const type = { 'content-type': 'application/octet-stream' };
      await client.put('image', `/images/${image}/file`, await exported(format), type);
      return image as string;
    };
    const [kernel_id, ramdisk_id] = [await uploaded('aki'), await uploaded('ari')];
    const os_command_line = 'console=ttyS0 quiet net.ifnames=0';
    const imageRef = await uploaded('ami', { kernel_id, ramdisk_id, os_command_line });
    const { flavors } = await client.get('compute', '/flavors');
    const flavorRef = flavors.find((f: { name: string }) => f.name === 'm1.nano').id;
    const wanted = { name: 'beside', imageRef, flavorRef, networks: 'none', config_drive: true };
    ({
      server: { id },
    } = await client.post('compute', '/servers', { server: wanted }));
    await until('ACTIVE');
    await eventually('it has booted', console_, (text) => text.includes('finished: Datasource'), 120);
    const { server } = await cloud.admin.get('compute', `/servers/${id}`);
    const shown = [server['OS-EXT-SRV-ATTR:kernel_id'], server['OS-EXT-SRV-ATTR:ramdisk_id']];
    expect(shown).toEqual([kernel_id, ramdisk_id]);
    await client.delete('compute', `/servers/${id}`);
  }, 300_000);

  it('boots from a config drive and runs its user data', async () => {
    const { images } = await client.get('image', '/images?name=omnivisor-test');
    const { flavors } = await client.get('compute', '/flavors');
    const { networks } = await client.get('network', '/networks?name=demo-net');
    ({
      server: { id },
    } = await client.post('compute', '/servers', {
      server: {
        name: 'real',
        imageRef: images[0].id,
        flavorRef: flavors.find((f: { name: string }) => f.name === 'm1.nano').id,
        networks: [{ uuid: networks[0].id }],
        config_drive: true,
        user_data: Buffer.from('#!/bin/sh\necho user data ran > /dev/console\n').toString('base64'),
      },
    }));
    await until('ACTIVE');
    const text = await eventually('it has booted', console_, (t) => t.includes('finished: Datasource'), 120);
    expect(text).toContain('Datasource ConfigDrive');
    expect(text).toContain('user data ran');
  }, 300_000);

  it('is told what it has used, and its host how long it is up', async () => {
    const told = await cloud.admin.get('compute', `/servers/${id}/diagnostics`);
    expect(told).toMatchObject({ state: 'running', driver: 'libvirt', hypervisor: 'qemu', config_drive: true });
    expect(told).toMatchObject({ num_cpus: 1, num_nics: 1, memory_details: { maximum: 128 } });
    const used = [told.uptime, told.cpu_details[0].time, told.nic_details[0].rx_octets, told.memory_details.used];
    for (const n of [...used, told.disk_details[0].read_bytes]) expect(n).toBeGreaterThan(0);
    const { hypervisors } = await cloud.admin.get('compute', '/os-hypervisors/detail');
    expect(hypervisors[0].uptime).toMatch(/ up .*load average/);
  });

  it('outlives its agent', async () => {
    const before = qemus(id);
    expect(before).toHaveLength(1);
    const { 'agent-1': agent } = await cloud.pids();
    process.kill(agent!, 'SIGKILL');
    await eventually(
      'the agent is back',
      () => cloud.pids(),
      (p) => (p['agent-1'] ?? 0) > 1 && p['agent-1'] !== agent,
    );
    expect(qemus(id)).toEqual(before);
    await until('ACTIVE');
  }, 120_000);

  it('is paused, unpaused, stopped by its own shutdown, and started', async () => {
    await action({ pause: null });
    await until('PAUSED');
    await action({ unpause: null });
    await until('ACTIVE');
    await action({ 'os-stop': null });
    await until('SHUTOFF');
    expect(qemus(id)).toHaveLength(0);
    await action({ 'os-start': null });
    await until('ACTIVE');
    expect(qemus(id)).toHaveLength(1);
  }, 300_000);

  it('is deleted with all that was made for it', async () => {
    await client.delete('compute', `/servers/${id}`);
    await eventually(
      'it is gone',
      () =>
        show().then(
          () => 'there',
          (error: { status: number }) => error.status,
        ),
      (seen) => seen === 404,
    );
    await eventually(
      'its process is gone',
      async () => qemus(id),
      (pids) => pids.length === 0,
    );
    const { ports } = await client.get('network', `/ports?device_id=${id}`);
    expect(ports).toEqual([]);
  }, 180_000);
});
