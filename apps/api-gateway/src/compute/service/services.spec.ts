import { schedulerState } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ComputeApp, computeApp, HOST } from '../compute-app.fixtures.js';
import { SCHEDULER } from './compute-service.js';

let app: ComputeApp;
let decides = true;
beforeAll(async () => {
  app = await computeApp();
});
afterAll(() => app?.close());

const path = '/v2.1/os-services';
type Row = Record<string, unknown>;
const list = async (query = '', version = '2.53') => {
  const answer = await app.call('GET', `${path}${query}`, { as: 'admin', version });
  expect(answer.status, answer.text).toBe(200);
  return (answer.body as { services: Row[] }).services;
};
const scheduler = async (version?: string) => (await list('?binary=nova-scheduler', version))[0];

describe('services of the cloud', () => {
  it('are its hosts, and the scheduler while one answers that it decides', async () => {
    const known = { host: 'scheduler', zone: 'internal', status: 'enabled', disabled_reason: null };
    expect(await scheduler()).toMatchObject({ ...known, state: 'down', updated_at: null });
    await app.core.bus.respond(schedulerState, async () => ({ decides }));
    expect(await scheduler()).toEqual({
      ...{ ...known, id: SCHEDULER.id, binary: 'nova-scheduler', state: 'up', forced_down: false },
      updated_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/),
    });
    decides = false;
    expect(await scheduler()).toMatchObject({ state: 'down', updated_at: null });
    decides = true;
    expect(await scheduler('2.52')).toMatchObject({ id: expect.any(Number) });
    expect(await scheduler('2.10')).not.toHaveProperty('forced_down');
  });

  it('are found by host and binary', async () => {
    const names = async (query: string) => (await list(query)).map(({ binary, host }) => `${binary} ${host}`);
    expect(await names('')).toEqual(['nova-scheduler scheduler', 'nova-compute compute-1']);
    expect(await names('?host=&binary=')).toEqual(await names(''));
    expect(await names('?host=compute-1')).toEqual(['nova-compute compute-1']);
    expect(await names('?host=scheduler&binary=nova-scheduler')).toEqual(['nova-scheduler scheduler']);
    expect(await names('?host=scheduler&binary=nova-compute')).toEqual([]);
    expect(await names('?binary=nova-conductor')).toEqual([]);
    expect((await app.call('GET', path)).status).toBe(403);
  });

  it('of the past are hosts alone', async () => {
    expect((await list(`?at=${await app.core.store.head()}`)).map(({ binary }) => binary)).toEqual(['nova-compute']);
  });

  it('other than hosts are neither changed nor deleted', async () => {
    const refused = (message: string) => ({ status: 400, body: { badRequest: { code: 400, message } } });
    const only = 'a nova-scheduler service is not supported. Only nova-compute services can be';
    const admin = { as: 'admin' as const };
    const byId = `${path}/${SCHEDULER.id}`;
    expect(await app.call('PUT', byId, { ...admin, version: '2.53', body: { status: 'disabled' } })).toMatchObject(
      refused(`Updating ${only} updated.`),
    );
    expect(await app.call('DELETE', byId, { ...admin, version: '2.53' })).toMatchObject(
      refused(`Deleting ${only} deleted.`),
    );
    const body = { host: 'scheduler', binary: 'nova-scheduler' };
    expect(await app.call('PUT', `${path}/disable`, { ...admin, body })).toMatchObject(
      refused(`Updating ${only} updated.`),
    );
    expect(await app.call('PUT', `${path}/odd`, { ...admin, body })).toMatchObject({ status: 404 });
    const unknown = { host: 'x', binary: 'nova-compute' };
    expect(await app.call('PUT', `${path}/disable`, { ...admin, body: unknown })).toMatchObject({ status: 404 });
    const number = (await scheduler('2.52'))!.id;
    expect(await app.call('DELETE', `${path}/${number}`, admin)).toMatchObject({ status: 400 });
    expect((await list('?binary=nova-compute'))[0]).toMatchObject({ id: HOST, status: 'enabled' });
  });
});
