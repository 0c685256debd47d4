import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ApiServer, eventually, family, RunningCloud } from './running-cloud.js';

describe('an older log that is restored under running guests', () => {
  let cloud: RunningCloud;
  let image: string;
  let flavor: string;
  /** Known to the older log: one as it was, one that has been deleted since. */
  let kept: string;
  let deleted: string;
  /** Made since. */
  let unknown: string[];

  const show = async (id: string): Promise<ApiServer> =>
    (await cloud.admin.get('compute', `/servers/${id}`)).server as ApiServer;
  const create = async (name: string): Promise<string> => {
    const { server } = await cloud.admin.post('compute', '/servers', {
      server: { name, imageRef: image, flavorRef: flavor, networks: 'none' },
    });
    await eventually(
      `${name} is ACTIVE`,
      () => show(server.id),
      (s) => s.status === 'ACTIVE',
      30,
    );
    return server.id;
  };
  const quarantined = async (): Promise<{ host: string; serverId: string; verdict: string | null }[]> =>
    JSON.parse((await cloud.omnivisor('host', 'quarantine', 'list', '--json')).stdout);

  const data = () => join(cloud.home, 'data', 'postgres');
  const copy = () => join(cloud.home, 'older-log');
  /** A process of the database ends by itself once its client, or the first of them, is gone. */
  const all = (pids: readonly number[], signal: NodeJS.Signals) => {
    for (const pid of pids)
      try {
        process.kill(pid, signal);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
  };
  /** The files of the database as they are at one moment. */
  const snapshot = async () => {
    const database = family((await cloud.pids()).postgres!);
    all(database, 'SIGSTOP');
    execFileSync('cp', ['-a', data(), copy()]);
    all(database.reverse(), 'SIGCONT');
  };
  /** Ends the database and all that has its contents in mind; agents and guests go on. */
  const restore = async () => {
    const { supervisor, postgres, ...services } = await cloud.pids();
    const minds = Object.entries(services).flatMap(([name, pid]) => (/^(api|sched|image)/.test(name) ? [pid] : []));
    process.kill(supervisor!, 'SIGSTOP');
    all([...minds, ...family(postgres!)], 'SIGKILL');
    rmSync(data(), { recursive: true });
    execFileSync('cp', ['-a', copy(), data()]);
    process.kill(supervisor!, 'SIGCONT');
    await eventually(
      'the API answers again',
      () => cloud.admin.get('compute', '/servers'),
      () => true,
      40,
    );
  };

  beforeAll(async () => {
    cloud = await RunningCloud.start({ fakeHosts: 2, bootstrap: false });
    image = await cloud.emptyImage();
    ({
      flavor: { id: flavor },
    } = await cloud.admin.post('compute', '/flavors', {
      flavor: { name: 'tiny', vcpus: 1, ram: 128, disk: 1 },
    }));
    kept = await create('kept');
    deleted = await create('deleted');
  }, 180_000);
  afterAll(() => cloud?.stop(), 60_000);

  it('puts the guests it does not know into quarantine, and none dies', async () => {
    await snapshot();
    unknown = await Promise.all(['one', 'two', 'three'].map(create));
    await cloud.admin.delete('compute', `/servers/${deleted}`);
    const guests = [kept, ...unknown].sort();
    await eventually(
      'the guests are these',
      async () => cloud.fakeGuests().sort(),
      (g) => `${g}` === `${guests}`,
    );
    const { 'fake-1': agent } = await cloud.pids();

    await restore();
    const found = await eventually('all are quarantined', quarantined, (list) => list.length === unknown.length, 40);
    expect(found.map((g) => g.serverId).sort()).toEqual([...unknown].sort());
    expect((await cloud.pids())['fake-1']).toBe(agent);
    expect(cloud.fakeGuests().sort()).toEqual(guests);
    for (const id of unknown) await expect(show(id)).rejects.toMatchObject({ status: 404 });
    expect((await show(kept)).status).toBe('ACTIVE');
    // Its guest is gone and is not made again.
    await eventually(
      'the deleted one is missed',
      () => show(deleted),
      (s) => s.status === 'ERROR',
    );
  }, 120_000);

  it('leaves each of them to an operator', async () => {
    const list = await quarantined();
    const [keep, discard] = list as [(typeof list)[0], (typeof list)[0]];
    await cloud.omnivisor('host', 'quarantine', 'keep', keep.host, keep.serverId);
    await cloud.omnivisor('host', 'quarantine', 'discard', discard.host, discard.serverId);
    await eventually(
      'the discarded guest is gone',
      async () => cloud.fakeGuests(),
      (g) => !g.includes(discard.serverId),
    );
    const left = await eventually('it is out of quarantine', quarantined, (now) => now.length === 2);
    expect(left).toContainEqual({ ...keep, verdict: 'keep' });
    expect(cloud.fakeGuests().sort()).toEqual([kept, ...unknown.filter((id) => id !== discard.serverId)].sort());
  }, 60_000);

  it('is a log that new servers are made with', async () => {
    const id = await create('new');
    expect(cloud.fakeGuests()).toContain(id);
    expect((await cloud.omnivisor('audit', 'replay')).stdout).toMatch(/equal/);
  }, 60_000);
});
