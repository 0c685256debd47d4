import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ApiServer, eventually, RunningCloud } from './running-cloud.js';

/** What a control plane is made of; hosts are other machines, and their guests live on. */
const CONTROL_PLANE = ['postgres', 'images', 'secrets', 'bootstrap.json'];

/** Servers that the load makes. */
const MOST = 40;

describe('a control plane that is lost with its machine', () => {
  let cloud: RunningCloud;
  let elsewhere: string;
  let image: string;
  let flavor: string;
  const before: string[] = [];
  let since: string[];
  let deletedSince: string;
  let user: string;

  const show = async (id: string): Promise<ApiServer> =>
    (await cloud.admin.get('compute', `/servers/${id}`)).server as ApiServer;
  const request = async (name: string): Promise<string> => {
    const body = { server: { name, imageRef: image, flavorRef: flavor, networks: 'none' } };
    return (await cloud.admin.post('compute', '/servers', body)).server.id;
  };
  const settled = (id: string) =>
    eventually(
      `${id} is ACTIVE`,
      () => show(id),
      (s) => s.status === 'ACTIVE',
      60,
    );
  const file = (name: string) => join(elsewhere, name);
  const restore = (...more: string[]) =>
    cloud.omnivisor('restore', '--from', file('backup'), '--key', file('key'), ...more);
  const quarantined = async (): Promise<{ host: string; serverId: string; verdict: string | null }[]> =>
    JSON.parse((await cloud.omnivisor('host', 'quarantine', 'list', '--json')).stdout);
  const said = async (work: Promise<unknown>): Promise<string> => {
    const error = await work.then(
      () => new Error('it was done'),
      (e: Error & { stderr?: string }) => e,
    );
    return `${(error as { stderr?: string }).stderr ?? error.message}`;
  };

  beforeAll(async () => {
    elsewhere = mkdtempSync(join(tmpdir(), 'ov-elsewhere-'));
    cloud = await RunningCloud.start({ fakeHosts: 2, bootstrap: false });
    const { admin } = cloud;
    await admin.put('compute', `/os-quota-sets/${admin.projectId}`, {
      quota_set: { instances: -1, cores: -1, ram: -1 },
    });
    image = await cloud.emptyImage();
    const { flavor: made } = await cloud.admin.post('compute', '/flavors', {
      flavor: { name: 'tiny', vcpus: 1, ram: 128, disk: 1 },
    });
    flavor = made.id;
    const answer = await cloud.admin.post('identity', '/users', {
      user: { name: 'Jane Doe', password: 'long enough' },
    });
    user = answer.user.id;
    before.push(await request('first'), await request('second'));
    await Promise.all(before.map(settled));
  }, 180_000);
  afterAll(async () => {
    await cloud?.stop();
    if (elsewhere) rmSync(elsewhere, { recursive: true, force: true });
  }, 60_000);

  it('is kept under load, with its secrets closed', async () => {
    let loaded = true;
    const load = (async () => {
      const ids: string[] = [];
      while (loaded && ids.length < MOST) ids.push(await request(`load-${ids.length}`));
      return ids;
    })();
    const { stdout } = await cloud.omnivisor('backup', '--out', file('backup'), '--key', file('key'), '--json');
    loaded = false;
    const under = await load;
    expect(under.length).toBeGreaterThan(0);
    await Promise.all(under.map(settled));
    expect(JSON.parse(stdout)).toMatchObject({ images: 1 });
    const manifest = JSON.parse(readFileSync(file('backup/manifest.json'), 'utf8'));
    expect(manifest.files.map((f: { path: string }) => f.path)).toContain('secrets.jsonl.gz');
    // What load made before and after the moment of the backup is told apart later.
    before.push(...under);
    expect(await said(cloud.omnivisor('backup', '--out', file('backup'), '--key', file('key')))).toMatch(
      /is there already/,
    );
    expect(await said(restore())).toMatch(/a cloud runs from/);
  }, 120_000);

  it('is lost with what had happened since', async () => {
    since = [await request('third'), await request('fourth')];
    await Promise.all(since.map(settled));
    deletedSince = before[1]!;
    await cloud.admin.delete('compute', `/servers/${deletedSince}`);
    await eventually(
      'its guest is gone',
      async () => cloud.fakeGuests(),
      (guests) => !guests.includes(deletedSince),
    );
    // What an auditor elsewhere has of the log, and of its keys.
    await eventually(
      'a checkpoint covers it',
      async () => JSON.parse((await cloud.omnivisor('audit', 'checkpoint', '--json')).stdout),
      ({ position }) => position > JSON.parse(readFileSync(file('backup/manifest.json'), 'utf8')).log.position,
    );
    writeFileSync(file('latest.note'), (await cloud.omnivisor('audit', 'checkpoint')).stdout);
    writeFileSync(file('keys.txt'), (await cloud.omnivisor('audit', 'key')).stdout);
    await cloud.halt();
    expect(await said(restore())).toMatch(/has a cloud already \(postgres, images, secrets\): --replace/);
    for (const part of CONTROL_PLANE) rmSync(join(cloud.home, 'data', part), { recursive: true, force: true });
    rmSync(join(cloud.home, 'openrc'));
  }, 120_000);

  it('is refused from a backup that was changed, or by another key', async () => {
    writeFileSync(file('other.key'), `${'ab'.repeat(32)}\n`);
    expect(await said(cloud.omnivisor('restore', '--from', file('backup'), '--key', file('other.key')))).toMatch(
      /is not the key that closed this backup/,
    );
    const path = file('backup/checkpoints.jsonl.gz');
    const bytes = readFileSync(path);
    writeFileSync(path, Buffer.concat([bytes.subarray(0, 20), Buffer.from([bytes[20]! ^ 1]), bytes.subarray(21)]));
    expect(await said(restore())).toMatch(/checkpoints.jsonl.gz was changed/);
    writeFileSync(path, bytes);
    expect(existsSync(join(cloud.home, 'data', 'postgres'))).toBe(false);
  }, 60_000);

  it('comes back with what the backup has, and leaves newer guests to an operator', async () => {
    const guests = cloud.fakeGuests().sort();
    const { stdout } = await restore();
    expect(stdout).toMatch(/restored: the log up to position \d+/);
    await cloud.resume();
    const known = new Set<string>(
      (await cloud.admin.get('compute', '/servers?limit=1000')).servers.map((s: { id: string }) => s.id),
    );
    const newer = guests.filter((id) => !known.has(id));
    expect(newer).toEqual(expect.arrayContaining(since));
    const list = await eventually(
      'all that the log does not know are quarantined',
      quarantined,
      (found) => found.length === newer.length,
      60,
    );
    expect(list.map((g) => g.serverId).sort()).toEqual(newer);
    expect(
      cloud
        .fakeGuests()
        .filter((id) => guests.includes(id))
        .sort(),
    ).toEqual(guests);
    expect((await show(before[0]!)).status).toBe('ACTIVE');
    // Its guest is gone, and is not made again.
    await eventually(
      'the deleted one is missed',
      () => show(deletedSince),
      (s) => s.status === 'ERROR',
    );
    expect((await cloud.admin.get('identity', `/users/${user}`)).user.name).toBe('Jane Doe');
    const bytes = await cloud.admin.get('image', `/images/${image}`);
    expect(bytes.status).toBe('active');
    // Requests of the load that were under way go on.
    for (const id of known) if (id !== deletedSince) await settled(id);
  }, 180_000);

  it('lets each of them be kept or discarded', async () => {
    const [keep, discard] = (await quarantined()).filter((g) => since.includes(g.serverId));
    await cloud.omnivisor('host', 'quarantine', 'keep', keep!.host, keep!.serverId);
    await cloud.omnivisor('host', 'quarantine', 'discard', discard!.host, discard!.serverId);
    await eventually(
      'the discarded guest is gone',
      async () => cloud.fakeGuests(),
      (guests) => !guests.includes(discard!.serverId),
    );
    expect(cloud.fakeGuests()).toContain(keep!.serverId);
  }, 60_000);

  it('has a log that is as it was sealed, and says what was cut off it', async () => {
    const id = await request('new');
    await settled(id);
    await cloud.admin.delete('identity', `/users/${user}`);
    const erase = ['audit', 'erase', '--user', user, '--reason', 'asked to', '--yes'];
    expect((await cloud.omnivisor(...erase)).stdout).toMatch(/^erased: 1 events of user/);
    expect((await cloud.omnivisor('audit', 'replay')).stdout).toMatch(/equal/);
    expect((await cloud.omnivisor('audit', 'verify', '--key', file('keys.txt'))).stdout).toMatch(/^ok/);
    const verify = cloud.omnivisor('audit', 'verify', '--key', file('keys.txt'), '--checkpoint', file('latest.note'));
    expect(
      await verify.then(
        () => '',
        (e: { stdout: string }) => e.stdout,
      ),
    ).toMatch(/NOT AS SEALED/);
  }, 60_000);

  it('goes back to a moment, too', async () => {
    const manifest = JSON.parse(readFileSync(file('backup/manifest.json'), 'utf8'));
    const moment = (await cloud.omnivisor('audit', 'list', '--type', 'UserCreated', '--json')).stdout;
    const jane = (JSON.parse(moment) as { position: number; stream: string }[]).find(
      (e) => e.stream === `user-${user}`,
    )!;
    await cloud.halt();
    const { stdout } = await restore('--replace', '--at', `${jane.position - 1}`, '--json');
    const restored = JSON.parse(stdout) as { position: number; cut: number; aside: string };
    expect(restored.position).toBeLessThan(jane.position);
    expect(restored.position + restored.cut).toBe(manifest.log.position);
    expect(existsSync(join(restored.aside, 'postgres'))).toBe(true);
    await cloud.resume();
    expect((await cloud.admin.get('identity', '/users')).users.map((u: { name: string }) => u.name)).not.toContain(
      'Jane Doe',
    );
    expect((await cloud.omnivisor('audit', 'verify')).stdout).toMatch(/^ok/);
    expect((await cloud.omnivisor('audit', 'replay')).stdout).toMatch(/equal/);
  }, 180_000);
});
