import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { guestProcesses } from '../start/guests.mjs';
import { GuestUser, guestPids, hostNetwork } from './guest.js';
import { eventually, RunningCloud } from './running-cloud.js';
import { serial } from './serial.js';

describe.skipIf(process.getuid?.() !== 0)('a cloud with a real QEMU host (needs root)', () => {
  let cloud: RunningCloud;
  let user: GuestUser;
  let network: string[];
  let id: string;
  let address: string;

  beforeAll(async () => {
    network = await hostNetwork();
    cloud = await RunningCloud.start({ agents: 1 });
    user = await GuestUser.of(await cloud.demo());
    await user.hasAgent(cloud.admin);
  }, 300_000);
  afterAll(async () => {
    await user?.forget();
    await cloud?.stop();
  }, 120_000);

  it('boots a guest that takes its address, key and name from the network', async () => {
    id = await user.create('first');
    const server = await user.reaches(id, 'ACTIVE');
    address = Object.values(server.addresses).flat()[0]!.addr;
    const output = await user.says(id, /finished: Datasource MetadataService/);
    expect(output).toContain(address);
    expect(await user.ssh(address, 'hostname')).toBe('first');
  }, 120_000);

  it('opens the serial console to who has a token, as long as the guest runs', async () => {
    const { remote_console: opened } = await user.api.post('compute', `/servers/${id}/remote-consoles`, {
      remote_console: { protocol: 'serial', type: 'serial' },
    });
    expect(await serial(opened.url, '\r', /[#$] /)).toMatch(/[#$] /);
    const wrong = new URL(opened.url);
    wrong.searchParams.set('token', '00000000-0000-4000-8000-000000000000');
    expect(await serial(wrong.href, '\r', /./)).toBe(401);

    await user.act(id, { 'os-stop': null });
    await user.reaches(id, 'SHUTOFF', 90);
    expect(await serial(opened.url, '\r', /./)).toBe(401);
    expect(guestProcesses(cloud.home)).toEqual([]);
  }, 150_000);

  it('stops by the power button and starts from the same disk', async () => {
    await user.act(id, { 'os-start': null });
    await user.reaches(id, 'ACTIVE');
    await user.ssh(address, 'echo kept >/root/kept; sync');
    await user.act(id, { 'os-stop': null });
    await user.reaches(id, 'SHUTOFF', 90);
    expect(await user.console(id)).toContain('power button, shutting down');
    await user.act(id, { 'os-start': null });
    await user.reaches(id, 'ACTIVE');
    expect(await user.ssh(address, 'cat /root/kept')).toBe('kept');
  }, 200_000);

  it.each(['SOFT', 'HARD'])(
    'reboots: %s',
    async (type) => {
      const boot = () => user.ssh(address, 'cat /proc/sys/kernel/random/boot_id');
      const before = await boot();
      await user.act(id, { reboot: { type } });
      await user.reaches(id, 'ACTIVE', 120);
      await eventually('another boot', boot, (now) => now !== before, 60);
    },
    200_000,
  );

  it('tells of itself, and changes its password, by the agent inside', async () => {
    const told = () => user.api.get('compute', `/servers/${id}/os-omnivisor-guest`);
    const { guest } = await eventually('its agent answers', told, ({ guest }) => guest.services[0].answers, 30);
    expect(guest).toMatchObject({ hostname: 'first', operating_system: expect.stringMatching(/./) });
    expect(JSON.parse((await cloud.omnivisor('guest', id, '--json')).stdout)).toEqual(guest);
    const shadow = () => user.ssh(address, 'grep ^root: /etc/shadow');
    const before = await shadow();
    await user.act(id, { changePassword: { adminPass: 'another "one"' } });
    expect(await shadow()).not.toBe(before);
    const { instanceActions } = await user.api.get('compute', `/servers/${id}/os-instance-actions`);
    expect(instanceActions[0]).toMatchObject({ action: 'changePassword', message: null });
  }, 60_000);

  it('pauses, unpauses, locks and unlocks', async () => {
    const before = guestPids(cloud.home, [id]);
    await user.act(id, { pause: null });
    await user.reaches(id, 'PAUSED');
    await user.act(id, { unpause: null });
    await user.reaches(id, 'ACTIVE');
    expect(await user.ssh(address, 'echo on')).toBe('on');
    await user.act(id, { lock: null });
    // Its owner's lock does not bind the owner, but everybody sees it.
    expect((await user.show(id)) as unknown).toMatchObject({ locked: true });
    await user.act(id, { unlock: null });
    expect((await user.show(id)) as unknown).toMatchObject({ locked: false });
    expect(guestPids(cloud.home, [id])).toEqual(before);
  }, 120_000);

  it('suspends, and goes on with what it remembered', async () => {
    const boot = () => user.ssh(address, 'cat /proc/sys/kernel/random/boot_id');
    const before = await boot();
    await user.act(id, { suspend: null });
    await user.reaches(id, 'SUSPENDED');
    expect(guestPids(cloud.home, [id])).toEqual({});
    await user.act(id, { resume: null });
    await user.reaches(id, 'ACTIVE');
    expect(await boot()).toBe(before);
  }, 120_000);

  it('gets another interface while it runs, and gives it up', async () => {
    const { network: second } = await user.api.post('network', '/networks', { network: { name: 'third' } });
    const range = { network_id: second.id, ip_version: 4, cidr: '10.89.0.0/24' };
    await user.api.post('network', '/subnets', { subnet: range });
    const macs = () => user.ssh(address, 'cat /sys/class/net/*/address');
    const { interfaceAttachment: made } = await user.api.post('compute', `/servers/${id}/os-interface`, {
      interfaceAttachment: { net_id: second.id },
    });
    await eventually('the guest sees it', macs, (seen) => seen.includes(made.mac_addr), 30);
    await user.api.delete('compute', `/servers/${id}/os-interface/${made.port_id}`);
    await eventually('the guest lost it', macs, (seen) => !seen.includes(made.mac_addr), 30);
    const ports = async () => (await user.api.get('network', `/ports?network_id=${second.id}&device_id=${id}`)).ports;
    await eventually('its port is gone', ports, (left) => left.length === 0, 20);
    await user.api.delete('network', `/networks/${second.id}`);
  }, 120_000);

  it('becomes an image, is rescued with it, and is made anew', async () => {
    await user.ssh(address, 'echo mine >/root/mine; sync');
    const { image_id: image } = await user.api.post('compute', `/servers/${id}/action`, {
      createImage: { name: 'mine' },
    });
    const status = async () => (await user.api.get('image', `/images/${image}`)).status;
    await eventually('the image is active', status, (now) => now === 'active', 60);
    const { imageRef } = await user.original(id);
    // From its own image with the file in it, the disk that has it too beside it.
    await user.act(id, { rescue: { rescue_image_ref: image } });
    await user.reaches(id, 'RESCUE', 90);
    expect(await user.ssh(address, 'cat /root/mine; grep -c "vd.$" /proc/partitions')).toBe('mine\n2');
    await user.act(id, { unrescue: null });
    await user.reaches(id, 'ACTIVE', 90);
    expect(await user.ssh(address, 'cat /root/mine; grep -c "vd.$" /proc/partitions')).toBe('mine\n1');
    await user.act(id, { rebuild: { imageRef } });
    await user.reaches(id, 'ACTIVE', 90);
    expect(await user.ssh(address, 'hostname; cat /root/mine 2>/dev/null || true')).toBe('first');
    await user.api.delete('image', `/images/${image}`);
  }, 300_000);

  it('gets more memory by another flavor, and keeps it', async () => {
    const memory = async () => Number(await user.ssh(address, "awk '/MemTotal/ { print $2 }' /proc/meminfo"));
    const before = await memory();
    const { flavors } = await user.api.get('compute', '/flavors');
    const larger = flavors.find((f: { name: string }) => f.name === 'm1.tiny');
    await user.act(id, { resize: { flavorRef: larger.id } });
    await user.reaches(id, 'VERIFY_RESIZE', 120);
    expect(await memory()).toBeGreaterThan(before * 1.5);
    await user.act(id, { confirmResize: null });
    await user.reaches(id, 'ACTIVE');
    expect(await memory()).toBeGreaterThan(before * 1.5);
  }, 200_000);

  it('gives a guest its data on a config drive, and an address on each of its networks', async () => {
    const { network: second } = await user.api.post('network', '/networks', { network: { name: 'second' } });
    const range = { network_id: second.id, ip_version: 4, cidr: '10.88.0.0/24' };
    await user.api.post('network', '/subnets', { subnet: range });
    const script = '#!/bin/sh\necho user data ran >/root/ran\n';
    const driven = await user.create('driven', {
      config_drive: true,
      networks: [{ uuid: user.network }, { uuid: second.id }],
      user_data: Buffer.from(script).toString('base64'),
    });
    const server = await user.reaches(driven, 'ACTIVE');
    expect(await user.says(driven, /finished: Datasource ConfigDrive/)).toMatch(/ci-info: eth1 10\.88\.0\.\d+/);
    expect(await user.ssh(server.addresses['demo-net']![0]!.addr, 'cat /root/ran')).toBe('user data ran');
    await user.remove(driven);
    await user.api.delete('network', `/networks/${second.id}`);
  }, 120_000);

  it('leaves nothing on the host', async () => {
    await user.remove(id);
    await eventually(
      'no guest, file, namespace or tap is left',
      async () => ({
        guests: guestProcesses(cloud.home).length,
        files: readdirSync(join(cloud.home, 'data/agents/agent-1/guests')),
        network: (await hostNetwork()).filter((name) => !network.includes(name)),
      }),
      (left) => left.guests === 0 && left.files.length === 0 && left.network.length === 0,
      20,
    );
  }, 90_000);
});
