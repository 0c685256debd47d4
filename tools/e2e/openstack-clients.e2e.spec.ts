import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { clients, isThere } from '../test/clients.mjs';
import { OpenStackSession } from './openstack-session.js';
import { eventually, RunningCloud } from './running-cloud.js';

let cloud: RunningCloud;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ov-clients-'));
  writeFileSync(join(folder, 'image'), Buffer.alloc(64 * 1024));
  cloud = await RunningCloud.start({ fakeHosts: 2 });
}, 300_000);
afterAll(async () => {
  await cloud?.stop();
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

const found = clients().map((client) => [client.name, client, isThere(client)] as const);

describe.each(found)('%s', (_, client, there) => {
  // The set-up of the tests says why it could not be installed.
  describe.skipIf(!there)('with the admin of a new cloud', () => {
    let admin: OpenStackSession;
    beforeAll(() => {
      admin = OpenStackSession.start(client, join(cloud.home, 'openrc'));
    });
    afterAll(() => admin?.stop());
    const json = (command: string, ...more: string[]) => admin.run(`${command} -f json`, ...more);

    it('sees what the cloud is made of', async () => {
      const services = (await json('catalog list')).map((s: { Type: string }) => s.Type).sort();
      expect(services).toEqual(['audit', 'compute', 'identity', 'image', 'network', 'placement']);
      expect((await json('hypervisor list')).length).toBe(2);
      const parts = (await json('compute service list')).map((s: Record<string, string>) => [s.Binary, s.State]);
      const host = ['nova-compute', 'up'];
      expect(parts).toEqual([['nova-scheduler', 'up'], host, host]);
      expect((await json('availability zone list')).length).toBeGreaterThan(0);
      expect((await json('extension list --network')).length).toBeGreaterThan(10);
      expect((await json('flavor list')).length).toBeGreaterThan(0);
      await admin.run('versions show');
    }, 30_000);

    it('manages projects, users and credentials', async () => {
      await admin.run('project create team');
      await admin.run('user create --project team --password secret-of-one one');
      await admin.run('role add --user one --project team member');
      const assigned = await json('role assignment list --names --user one --project team');
      expect(assigned).toMatchObject([{ Role: 'member' }]);
      await admin.run('application credential create --role admin robot');
      expect(JSON.stringify(await json('application credential show robot'))).toContain('"robot"');
      await admin.run('quota set --cores 40 team');
      expect(JSON.stringify(await json('quota show team'))).toContain('40');
      for (const made of ['application credential delete robot', 'user delete one', 'project delete team'])
        await admin.run(made);
    }, 30_000);

    it('takes a server through its life', async () => {
      await admin.run('flavor create --ram 128 --disk 1 --vcpus 1 small');
      await admin.run('flavor set --property hw:cpu_policy=shared small');
      expect(await admin.run('keypair create mine')).toContain('PRIVATE KEY');
      await admin.run(
        'image create --disk-format raw --container-format bare --property hw_qemu_guest_agent=yes zero --file',
        join(folder, 'image'),
      );
      expect(await json('image show zero')).toMatchObject({ status: 'active', size: 64 * 1024 });
      await admin.run('network create lan');
      await admin.run('subnet create --network lan --subnet-range 10.66.0.0/24 lan-v4');
      await admin.run('security group create web');
      await admin.run('security group rule create --protocol tcp --dst-port 22 web');
      await admin.run('port create --network lan --security-group web front');
      await admin.run('server group create --policy soft-anti-affinity spread');

      await admin.run(
        'server create --flavor small --image zero --port front --key-name mine --property a=b --wait vm',
      );
      expect(await json('server show vm')).toMatchObject({ status: 'ACTIVE', key_name: 'mine' });
      expect(await json('server list --all-projects --name vm')).toMatchObject([{ Name: 'vm', Status: 'ACTIVE' }]);
      await admin.run('server set --property c=d --name vm2 vm');
      /** The client waits for none of these. */
      const becomes = (wanted: string) =>
        eventually(
          `it is ${wanted}`,
          () => json('server show vm2'),
          ({ status }) => status === wanted,
          30,
        );
      await admin.run('server stop vm2');
      await becomes('SHUTOFF');
      await admin.run('server start vm2');
      await becomes('ACTIVE');
      await admin.run('server reboot --hard --wait vm2');
      await admin.run('server pause vm2');
      await becomes('PAUSED');
      await admin.run('server unpause vm2');
      await becomes('ACTIVE');
      await admin.run('server lock vm2');
      await admin.run('server unlock vm2');
      await admin.run('console log show vm2');
      await admin.run('server set --password another vm2');
      expect(await admin.run('console log show vm2')).toContain('password of root changed');
      for (const [kind, protocol, type] of [
        ['novnc', 'vnc', 'novnc'],
        ['serial', 'serial', 'serial'],
        ['rdp', 'rdp', 'rdp-html5'],
        ['mks', 'mks', 'webmks'],
      ])
        expect(await json(`console url show --${kind} vm2`)).toMatchObject({ protocol, type });
      const { url } = await json('console url show --rdp vm2');
      expect(await (await fetch(url)).text()).toMatch(/^full address:s:fake\.invalid:2179\r\npcb:s:[0-9a-f-]{36}\r\n/);

      const host = async () => (await json('server show vm2'))['OS-EXT-SRV-ATTR:host'];
      const before = await host();
      await admin.run('server migrate --wait vm2');
      expect(await host()).not.toBe(before);
      await admin.run('server resize confirm vm2');
      await becomes('ACTIVE');
      await admin.run('server migrate --wait vm2');
      await admin.run('server resize revert vm2');
      await becomes('ACTIVE');
      await admin.run('server migrate --live-migration --wait vm2');
      await eventually('it is back where it was', host, (now) => now === before, 30);
      const moves = await json('server migration list --server vm2');
      expect(moves.map((move: { Status: string }) => move.Status).sort()).toEqual([
        'completed',
        'confirmed',
        'reverted',
      ]);
      const actions = await json('server event list vm2');
      expect(actions.map((a: { Action: string }) => a.Action)).toEqual(
        expect.arrayContaining(['create', 'stop', 'start', 'reboot', 'pause', 'unpause']),
      );
      await admin.run('limits show --absolute');
      await admin.run('usage list');
      await admin.run('server delete --wait vm2');
      expect(await json('server list --all-projects --name vm2')).toEqual([]);

      const made = 'server group delete spread|port delete front|security group delete web|subnet delete lan-v4';
      for (const command of `${made}|network delete lan|image delete zero|keypair delete mine|flavor delete small`.split(
        '|',
      ))
        await admin.run(command);
    }, 150_000);

    it('is told what is wrong in words it shows', async () => {
      await expect(admin.run('server show nothing')).rejects.toThrow(/No [Ss]erver found|No server with a name/);
      await expect(admin.run('flavor create --ram 0 --disk 1 --vcpus 1 odd')).rejects.toThrow(/Invalid input|minimum/);
      await expect(admin.run('network create --provider-network-type odd odd')).rejects.toThrow(/HTTP|40\d|Bad/);
    }, 30_000);
  });
});
