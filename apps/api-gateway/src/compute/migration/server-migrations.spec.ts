import type { HostId, MigrationProgress, ServerId } from '@omnivisor/contracts';
import { seconds } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { userContext } from '../../core/gateway-core.fixtures.js';
import { type ComputeApp, computeApp } from '../compute-app.fixtures.js';
import { serverAggregate } from '../server/lifecycle/server-lifecycle.js';

const other = '0a4b8f7e-16a1-4b93-8a5e-0d7a0c4f7a09' as HostId;
const told: MigrationProgress = {
  memory: { total: 4096, remaining: 1024.4 },
  disk: { total: 100, remaining: 120 },
};
const nothing = {
  ...{ memory_total_bytes: null, memory_processed_bytes: null, memory_remaining_bytes: null },
  ...{ disk_total_bytes: null, disk_processed_bytes: null, disk_remaining_bytes: null },
};

describe('how far a live migration is', () => {
  let app: ComputeApp;
  let id: ServerId;
  beforeAll(async () => {
    app = await computeApp();
    id = (await app.create()) as ServerId;
    await app.activate(id);
    const wanted = { 'os-migrateLive': { host: null, block_migration: 'auto' } };
    await app.call('POST', `/v2.1/servers/${id}/action`, { as: 'admin', version: '2.96', body: wanted });
    const place = { hostName: 'compute-2', node: 'compute-2', providerId: other as never, availabilityZone: 'nova' };
    const schedule = { serverId: id, host: other, attempt: 2, disks: null, ...place };
    const command = { type: 'placeMigration', serverId: id, schedule } as const;
    await app.core.commands.execute(serverAggregate, id, command, userContext());
  });
  afterAll(() => app?.close());

  const ask = (path = '') => app.call('GET', `/v2.1/servers/${id}/migrations${path}`, { as: 'admin', version: '2.96' });
  const listed = async () => (((await ask()).body as { migrations: unknown[] }).migrations[0] ?? {}) as { id: number };

  it('is told by the host that sends the guest, of now', async () => {
    app.hostAnswers = ({ kind }) => (kind === 'migrationProgress' ? { body: JSON.stringify(told) } : undefined);
    const expected = {
      status: 'running',
      ...{ memory_total_bytes: 4096, memory_processed_bytes: 3072, memory_remaining_bytes: 1024 },
      ...{ disk_total_bytes: 100, disk_processed_bytes: 0, disk_remaining_bytes: 120 },
    };
    const one = await listed();
    expect(one).toMatchObject(expected);
    expect((await ask(`/${one.id}`)).body).toMatchObject({ migration: expected });
  });

  it.each([
    ['that it cannot tell', { ok: false, unsupported: true }],
    ['no JSON', { body: '{' }],
    ['that nothing is under way', { body: 'null' }],
    ['what cannot be', { body: JSON.stringify({ ...told, disk: { total: -1, remaining: 0 } }) }],
  ])('is left open when the host says %s', async (_, answer) => {
    app.hostAnswers = () => answer;
    expect(await listed()).toMatchObject({ status: 'running', ...nothing });
  });

  it('is left open when the host says nothing, without keeping who asks', async () => {
    let asked: ReturnType<typeof listed> | undefined;
    await new Promise<void>((resolve) => {
      app.hostAnswers = () => void resolve();
      asked = listed();
    });
    await app.clock.advance(seconds(2));
    expect(await asked!).toMatchObject({ status: 'running', ...nothing });
    await app.hostGoesDown();
    expect(await listed()).toMatchObject({ status: 'running', ...nothing });
  });
});
