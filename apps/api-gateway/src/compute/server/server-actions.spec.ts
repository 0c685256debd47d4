import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ComputeApp, computeApp, IMAGE } from '../compute-app.fixtures.js';

let app: ComputeApp;
beforeAll(async () => {
  app = await computeApp();
});
afterAll(() => app?.close());

const versions = ['2.1', '2.104'];
const create = async (version = '2.104'): Promise<string> => {
  const networks = version === '2.1' ? {} : { networks: 'none' };
  const server = { name: 'web', flavorRef: '1', imageRef: IMAGE, ...networks };
  const answer = await app.call('POST', '/v2.1/servers', { version, body: { server } });
  expect(answer.status, answer.text).toBe(202);
  const { id } = (answer.body as { server: { id: string } }).server;
  await app.activate(id);
  return id;
};
const act = (id: string, body: unknown, version = '2.104', as: 'member' | 'other' | 'reader' | 'admin' = 'member') =>
  app.call('POST', `/v2.1/servers/${id}/action`, { as, version, body });
const show = async (id: string, version = '2.104') =>
  ((await app.call('GET', `/v2.1/servers/${id}`, { version })).body as { server: Record<string, unknown> }).server;
const wrongState = (action: string, id: string, attribute: string, state: string) => ({
  status: 409,
  body: {
    conflictingRequest: {
      code: 409,
      message: `Cannot '${action}' instance ${id} while it is in ${attribute} ${state}`,
    },
  },
});
const actionsOf = async (id: string) => {
  const { body } = await app.call('GET', `/v2.1/servers/${id}/os-instance-actions`, { version: '2.84' });
  return (body as { instanceActions: { action: string; message: string | null }[] }).instanceActions;
};

describe.each(versions)('at %s', (version) => {
  it('a server is suspended and resumed', async () => {
    const id = await create(version);
    expect(await act(id, { suspend: null }, version, 'other')).toMatchObject({ status: 404 });
    expect(await act(id, { suspend: null }, version, 'reader')).toMatchObject({ status: 403 });
    expect(await act(id, { resume: null }, version)).toMatchObject(wrongState('resume', id, 'vm_state', 'active'));
    expect(await act(id, { suspend: null }, version)).toMatchObject({ status: 202, text: '' });
    expect(await show(id, version)).toMatchObject({ status: 'ACTIVE', 'OS-EXT-STS:task_state': 'suspending' });
    expect(await act(id, { suspend: null }, version)).toMatchObject(
      wrongState('suspend', id, 'task_state', 'suspending'),
    );
    const power = 'suspended' as const;
    await app.report(id, { kind: 'operationDone', generation: 1, operation: 'suspend', power, bootId: 'b' });
    expect(await show(id, version)).toMatchObject({
      status: 'SUSPENDED',
      'OS-EXT-STS:vm_state': 'suspended',
      'OS-EXT-STS:task_state': null,
      'OS-EXT-STS:power_state': 7,
    });
    expect((await act(id, { resume: null }, version)).status).toBe(202);
    await app.report(id, { kind: 'operationDone', generation: 2, operation: 'resume', power: 'running', bootId: 'b' });
    expect(await show(id, version)).toMatchObject({ status: 'ACTIVE', 'OS-EXT-STS:task_state': null });
    expect((await actionsOf(id)).map((a) => a.action).sort()).toEqual(['create', 'resume', 'suspend']);
  });
});

describe('what the host of a server cannot do', () => {
  it.each([
    ['pausing', { pause: null }],
    ['suspending', { suspend: null }],
  ] as const)('(%s) is refused before anything is accepted', async (feature, body) => {
    const id = await create();
    await app.hostLacks(feature);
    try {
      expect(await act(id, body)).toMatchObject({
        status: 501,
        body: { notImplemented: { message: 'The requested functionality is not supported.' } },
      });
      expect((await actionsOf(id)).map((a) => a.action)).toEqual(['create']);
    } finally {
      await app.hostLacks();
    }
  });
});
