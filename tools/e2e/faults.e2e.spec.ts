import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChaosCloud } from '../chaos/chaos-cloud.js';
import { FAULTS } from '../chaos/faults.js';
import { violationsOf } from '../chaos/report.js';
import { Trial } from '../chaos/trial.js';
import { eventually, family } from './running-cloud.js';

describe('a cloud of three fake hosts and two gateways', () => {
  let chaos: ChaosCloud;
  let trial: Trial;

  beforeAll(async () => {
    chaos = await ChaosCloud.start({ fakeHosts: 3, gateways: 2 }, 1);
    trial = new Trial(chaos, { seconds: 5, around: 1 });
  }, 300_000);
  afterAll(() => chaos?.stop(), 60_000);

  it('gives ten of a hundred parallel requests to a project whose quota is ten', async () => {
    const { admin } = chaos.cloud;
    const quota = (instances: number) =>
      admin.put('compute', `/os-quota-sets/${admin.projectId}`, { quota_set: { instances } });
    await quota(10);
    const replicas = [await chaos.cloud.replica(0), await chaos.cloud.replica(1)];
    const answers = await Promise.allSettled(
      Array.from({ length: 100 }, (_, i) =>
        replicas[i % 2]!.post('compute', '/servers', {
          server: { ...chaos.load.target.server, name: `quota-${i}`, networks: 'none' },
        }),
      ),
    );
    const refused = answers.filter((a) => a.status === 'rejected').map((a) => (a.reason as { status: number }).status);
    expect(answers.filter((a) => a.status === 'fulfilled')).toHaveLength(10);
    expect(new Set(refused)).toEqual(new Set([403]));
    await chaos.atRest();
    await quota(100_000);
  }, 120_000);

  const quick = FAULTS.filter((f) => f.name.startsWith('kill ') || ['stop nats', 'rolling upgrade'].includes(f.name));
  it.each(quick.map((fault) => [fault.name, fault] as const))(
    'loses nothing, does nothing twice and comes to rest after: %s',
    async (_, fault) => {
      const row = await trial.suffer(fault);
      expect(violationsOf(row)).toEqual([]);
      expect(row.accepted).toBeGreaterThan(20);
    },
    240_000,
  );

  it('answers 503 while PostgreSQL is stopped, and recovers without a restart', async () => {
    const { cloud } = chaos;
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
    await eventually(
      'the API answers again',
      () => chaos.servers(),
      () => true,
      30,
    );
    expect((await cloud.pids())['api-gateway-1']).toBe(before['api-gateway-1']);
  }, 120_000);

  it('has read models that equal a replay of its log', async () => {
    expect(await chaos.audited()).toEqual([]);
  }, 120_000);
});
