import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GuestUser, guestPids } from './guest.js';
import { type ApiServer, eventually, RunningCloud } from './running-cloud.js';

describe.skipIf(process.getuid?.() !== 0)('a guest that moves between two QEMU hosts (needs root)', () => {
  let cloud: RunningCloud;
  let user: GuestUser;
  let id: string;
  let address: string;

  beforeAll(async () => {
    cloud = await RunningCloud.start({ agents: 2 });
    user = await GuestUser.of(await cloud.demo());
  }, 300_000);
  afterAll(async () => {
    await user?.forget();
    await cloud?.stop();
  }, 120_000);

  const act = (action: object) => cloud.admin.post('compute', `/servers/${id}/action`, action);
  const shown = async (): Promise<ApiServer> => (await cloud.admin.get('compute', `/servers/${id}`)).server;
  const host = async () => (await shown())['OS-EXT-SRV-ATTR:host'];
  const boot = () => user.ssh(address, 'cat /proc/sys/kernel/random/boot_id');
  const folders = () =>
    ['agent-1', 'agent-2'].flatMap((agent) => readdirSync(join(cloud.home, 'data/agents', agent, 'guests')));
  const onlyOne = () =>
    eventually(
      'one guest is left, and runs',
      async () => [folders(), Object.keys(guestPids(cloud.home, [id]))] as const,
      ([all, running]) => all.length === 1 && running.length === 1,
      60,
    );

  it('is migrated with what it wrote, its address and its key', async () => {
    id = await user.create('mover');
    const server = await user.reaches(id, 'ACTIVE', 90);
    address = Object.values(server.addresses).flat()[0]!.addr;
    await user.ssh(address, 'echo mine >/root/mine; sync');
    const before = await host();
    await act({ migrate: null });
    await user.reaches(id, 'VERIFY_RESIZE', 180);
    expect(await host()).not.toBe(before);
    expect(await user.ssh(address, 'hostname; cat /root/mine')).toBe('mover\nmine');
    expect(folders()).toHaveLength(2);
    await act({ confirmResize: null });
    await user.reaches(id, 'ACTIVE');
    await onlyOne();
  }, 300_000);

  it('moves while it runs: the same boot, the same memory, the same disk, also what it wrote meanwhile', async () => {
    const before = await host();
    const started = await boot();
    const sum = 'sha256sum /root/data';
    const written = await user.ssh(address, `dd if=/dev/urandom of=/root/data bs=1k count=4096 2>&1; sync; ${sum}`);
    const count = 'while :; do n=$((n+1)); echo $n; sync; done';
    await user.ssh(address, `(${count}) >/root/count 2>/dev/null </dev/null & echo $! >/root/counter`);
    await act({ 'os-migrateLive': { host: null, block_migration: 'auto' } });
    await eventually(
      'it is elsewhere',
      shown,
      (s) => s.status === 'ACTIVE' && s['OS-EXT-SRV-ATTR:host'] !== before,
      120,
    );
    expect(await boot()).toBe(started);
    const counted = 'kill $(cat /root/counter); sync; tail -n 1 /root/count';
    const last = Number(await user.ssh(address, counted));
    // From the disk, not from what the guest remembers of it.
    await user.ssh(address, 'echo 3 >/proc/sys/vm/drop_caches');
    expect(written).toContain(await user.ssh(address, sum));
    expect(await user.ssh(address, 'wc -l </root/count; tail -n 1 /root/count; cat /root/mine')).toBe(
      `${last}\n${last}\nmine`,
    );
    expect(last).toBeGreaterThan(1);
    await onlyOne();
    const { migrations } = await cloud.admin.get('compute', `/os-migrations?instance_uuid=${id}`);
    expect(migrations.map((m: { status: string }) => m.status).sort()).toEqual(['completed', 'confirmed']);
  }, 300_000);

  it('leaves nothing on either host', async () => {
    await user.remove(id);
    await eventually(
      'no guest is left',
      async () => folders(),
      (left) => left.length === 0,
      30,
    );
  }, 90_000);
});
