import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ApiServer, eventually, family, RunningCloud } from './running-cloud.js';

const SERVERS = 50;

describe('a cloud of three fake hosts and two gateways', () => {
  let cloud: RunningCloud;
  let image: string;
  let flavor: string;

  beforeAll(async () => {
    cloud = await RunningCloud.start({ fakeHosts: 3, gateways: 2 });
    const { admin } = cloud;
    await admin.put('compute', `/os-quota-sets/${admin.projectId}`, {
      quota_set: { instances: -1, cores: -1, ram: -1 },
    });
    image = await cloud.emptyImage();
    const { flavors } = await admin.get('compute', '/flavors');
    flavor = flavors.find((f: { name: string }) => f.name === 'm1.nano').id;
  }, 300_000);
  afterAll(() => cloud?.stop(), 60_000);

  const list = async (): Promise<ApiServer[]> => (await cloud.admin.get('compute', '/servers/detail')).servers;
  const create = (name: string, from = cloud.admin): Promise<{ server: { id: string } }> =>
    from.post('compute', '/servers', { server: { name, imageRef: image, flavorRef: flavor, networks: 'none' } });

  /** Nothing runs any more, and what runs on the hosts is what the API says. */
  const atRest = async (seconds = 60): Promise<ApiServer[]> => {
    const servers = await eventually(
      'every server is at rest',
      list,
      (all) => all.every((s) => s['OS-EXT-STS:task_state'] === null && ['ACTIVE', 'ERROR'].includes(s.status)),
      seconds,
    );
    for (const server of servers) if (server.status === 'ERROR') expect(server.fault?.message).toBeTruthy();
    await eventually(
      'guests and servers are the same',
      async () => ({
        guests: cloud.fakeGuests().sort(),
        servers: (await list())
          .filter((s) => s.status === 'ACTIVE')
          .map((s) => s.id)
          .sort(),
      }),
      ({ guests, servers: ids }) => JSON.stringify(guests) === JSON.stringify(ids),
      seconds,
    );
    await eventually('no claim is left over', claimed, (vcpus) => vcpus === cloud.fakeGuests().length, seconds);
    return servers;
  };

  /** vCPUs claimed on all hosts: one for each server of this flavor. */
  const claimed = async (): Promise<number> => {
    const { resource_providers: providers } = await cloud.admin.get('placement', '/resource_providers');
    let vcpus = 0;
    for (const { uuid } of providers)
      vcpus += (await cloud.admin.get('placement', `/resource_providers/${uuid}/usages`)).usages.VCPU;
    return vcpus;
  };

  const removeAll = async () => {
    const servers = await list();
    await Promise.all(servers.map((s) => cloud.admin.delete('compute', `/servers/${s.id}`)));
    await eventually('all servers are gone', list, (all) => all.length === 0);
    await eventually(
      'no guest is left',
      async () => cloud.fakeGuests(),
      (guests) => guests.length === 0,
    );
    await eventually('no claim is left', claimed, (vcpus) => vcpus === 0);
  };

  it('gives ten of a hundred parallel requests to a project whose quota is ten', async () => {
    const { admin } = cloud;
    const quota = (instances: number) =>
      admin.put('compute', `/os-quota-sets/${admin.projectId}`, { quota_set: { instances } });
    await quota(10);
    const replicas = [await cloud.replica(0), await cloud.replica(1)];
    const answers = await Promise.allSettled(
      Array.from({ length: 100 }, (_, i) => create(`quota-${i}`, replicas[i % 2])),
    );
    const refused = answers.filter((a) => a.status === 'rejected').map((a) => (a.reason as { status: number }).status);
    expect(answers.filter((a) => a.status === 'fulfilled')).toHaveLength(10);
    expect(new Set(refused)).toEqual(new Set([403]));
    await atRest();
    await quota(-1);
    await removeAll();
  }, 120_000);

  it.each([['api-gateway-1'], ['api-gateway-2'], ['scheduler'], ['image-service'], ['fake-1'], ['nats'], ['postgres']])(
    'comes to rest when %s is killed in the middle of 50 creates and deletes',
    async (victim) => {
      const pid = (await cloud.pids())[victim]!;
      expect(pid).toBeGreaterThan(1);
      const accepted: string[] = [];
      let answered = 0;
      const kill = () => {
        if (++answered === SERVERS / 2) process.kill(pid, 'SIGKILL');
      };
      await Promise.all(
        Array.from({ length: SERVERS }, async (_, i) => {
          try {
            const { server } = await create(`${victim}-${i}`);
            accepted.push(server.id);
            kill();
            if (i % 2 === 0) await cloud.admin.delete('compute', `/servers/${server.id}`);
          } catch {
            kill(); // refused or cut off: whatever came of it has to come to rest too
          }
        }),
      );
      expect(answered).toBeGreaterThanOrEqual(SERVERS / 2);
      await atRest();
      const known = new Set((await list()).map((s) => s.id));
      // What was accepted and not deleted is there.
      for (const id of accepted)
        if (!known.has(id))
          await expect(cloud.admin.get('compute', `/servers/${id}`)).rejects.toMatchObject({ status: 404 });
      await eventually(
        'it was started again',
        () => cloud.pids(),
        (pids) => (pids[victim] ?? 0) > 1 && pids[victim] !== pid,
      );
      await removeAll();
    },
    240_000,
  );

  it('answers 503 while PostgreSQL is stopped, and recovers without a restart', async () => {
    const before = await cloud.pids();
    const stopped = family(before.postgres!);
    const url = `${cloud.admin.endpoint('compute')}/servers`;
    for (const pid of stopped) process.kill(pid, 'SIGSTOP');
    try {
      const answer = await fetch(url, { headers: { 'x-auth-token': cloud.admin.token } });
      expect(answer.status).toBe(503);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    } finally {
      for (const pid of stopped.reverse()) process.kill(pid, 'SIGCONT');
    }
    await eventually('the API answers again', list, () => true, 30);
    expect((await cloud.pids())['api-gateway-1']).toBe(before['api-gateway-1']);
  }, 120_000);

  it('finishes what was accepted while NATS was stopped for a while', async () => {
    const pid = (await cloud.pids()).nats!;
    process.kill(pid, 'SIGSTOP');
    let accepted: PromiseSettledResult<unknown>[];
    try {
      accepted = await Promise.allSettled(Array.from({ length: 10 }, (_, i) => create(`nats-${i}`)));
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    const servers = await atRest();
    expect(servers.length).toBeGreaterThanOrEqual(accepted.filter((a) => a.status === 'fulfilled').length);
    await removeAll();
  }, 240_000);

  it('has read models that equal a replay of its log', async () => {
    const { stdout } = await cloud.omnivisor('audit', 'replay');
    expect(stdout).toMatch(/equal/);
  }, 120_000);
});
