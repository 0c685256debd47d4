import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { guestProcesses } from '../start/guests.mjs';
import { cloudNetwork, GuestUser, guestPids, hostNetwork } from './guest.js';
import { eventually, RunningCloud } from './running-cloud.js';

describe.skipIf(process.getuid?.() !== 0)('three agents on one machine (needs root)', () => {
  let before: string[];
  let cloud: RunningCloud;
  let user: GuestUser;
  const ids: string[] = [];
  const addresses: string[] = [];

  beforeAll(async () => {
    before = await cloudNetwork();
    cloud = await RunningCloud.start({ agents: 3 });
    user = await GuestUser.of(await cloud.demo());
  }, 300_000);
  afterAll(async () => {
    await user?.forget();
    await cloud?.stop();
  }, 120_000);

  const since = async () => (await cloudNetwork()).filter((name) => !before.includes(name));
  /** Asked until it is answered: the other one may still boot. */
  const reaches = async () => {
    const said = await user.ssh(addresses[0]!, `until ping -c 1 -W 1 ${addresses[1]}; do :; done`);
    expect(said).toContain('1 packets received');
  };

  it('have one network, over which their guests reach each other', async () => {
    // The members of the default group let each other in, whichever agent they are on.
    const groups = { security_groups: [{ name: 'e2e' }, { name: 'default' }] };
    ids.push(await user.create('one', groups));
    await user.reaches(ids[0]!, 'ACTIVE');
    ids.push(await user.create('two', groups, { different_host: ids }));
    for (const id of ids) addresses.push(Object.values((await user.reaches(id, 'ACTIVE')).addresses).flat()[0]!.addr);
    const hosts = await Promise.all(
      ids.map(async (id) => (await cloud.admin.get('compute', `/servers/${id}`)).server['OS-EXT-SRV-ATTR:host']),
    );
    expect(new Set(hosts).size).toBe(2);
    expect((await hostNetwork()).filter((name) => name.endsWith(user.network))).toHaveLength(1);
    await reaches();
  }, 120_000);

  it('come to rest when one of them is killed in the middle of four new guests', async () => {
    const victim = (await cloud.pids())['agent-2']!;
    const four = await Promise.all(['a', 'b', 'c', 'd'].map((name) => user.create(name)));
    await eventually(
      'agent-2 spawns',
      async () => readdirSync(join(cloud.home, 'data/agents/agent-2/guests')),
      (g) => g.length > 0,
    );
    process.kill(victim, 'SIGKILL');
    for (const id of four) await user.reaches(id, 'ACTIVE');
    expect(Object.keys(guestPids(cloud.home, four)).sort()).toEqual([...four].sort());
    for (const id of four) await user.remove(id);
    await eventually(
      'they are gone',
      async () => guestPids(cloud.home, four),
      (left) => Object.keys(left).length === 0,
    );
  }, 120_000);

  it('leave nothing when the cloud is stopped with its guests, and make it all anew', async () => {
    await cloud.halt({ guests: true });
    expect(guestProcesses(cloud.home)).toEqual([]);
    expect(await since()).toEqual([]);

    await cloud.resume();
    user.api = await cloud.demo();
    for (const id of ids) expect((await user.show(id)).status).toBe('SHUTOFF');
    for (const id of ids) await user.act(id, { 'os-start': null });
    for (const id of ids) await user.reaches(id, 'ACTIVE');
    await reaches();
  }, 180_000);

  it('leave nothing on the machine when their servers are deleted', async () => {
    for (const id of ids) await user.remove(id);
    await eventually(
      'no guest, file or network is left',
      async () => ({
        guests: guestProcesses(cloud.home).length,
        files: [1, 2, 3].flatMap((n) => readdirSync(join(cloud.home, `data/agents/agent-${n}/guests`))),
        network: await since(),
      }),
      (left) => left.guests === 0 && left.files.length === 0 && left.network.length === 0,
      20,
    );
  }, 60_000);
});
