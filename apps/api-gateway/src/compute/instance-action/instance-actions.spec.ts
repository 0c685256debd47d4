import { type HostFact, type PortId, type RequestId, type ServerId, seconds } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ComputeApp, computeApp, IMAGE } from '../compute-app.fixtures.js';
import { type ServerCommand, serverAggregate } from '../server/lifecycle/server-lifecycle.js';
import { serverTable } from '../server/view/server.projection.js';

interface Shown {
  readonly action: string;
  readonly request_id: string;
  readonly message: string | null;
  readonly events: readonly {
    readonly result: string | null;
    readonly details: string | null;
    readonly finish_time: string | null;
  }[];
}

let app: ComputeApp;
beforeAll(async () => {
  app = await computeApp();
});
afterAll(() => app?.close());

const PORT = '22222222-2222-4222-8222-222222222222' as PortId;

const active = async () => {
  const id = await app.create();
  await app.activate(id);
  return id as ServerId;
};
const requestOf = (id: ServerId) => `req-${id}`;
/** As a gateway that says nothing of it afterwards. */
const send = (id: ServerId, command: ServerCommand) =>
  app.core.commands.execute(serverAggregate, id, command, {
    ...{ actor: { kind: 'service', service: 'spec' }, causationId: null, commandId: id as never },
    ...{ requestId: requestOf(id) as RequestId, correlationId: requestOf(id) as RequestId },
  });
const act = async (id: ServerId, body: object) => {
  const answer = await app.call('POST', `/v2.1/servers/${id}/action`, { as: 'admin', version: '2.100', body });
  expect(answer.status, answer.text).toBeLessThan(300);
};
const remove = (id: ServerId) => app.call('DELETE', `/v2.1/servers/${id}`);
/** What the host says of what it was last asked for. */
const report = async (id: ServerId, fact: HostFact) =>
  app.report(id, fact, (await (await app.core.fresh()).get(serverTable, id))!.pending!.requestId);
const shown = async <T>(path: string) =>
  (await app.call('GET', path, { as: 'admin', version: '2.100' })).body as unknown as T;
const actionOf = async (id: ServerId, action: string): Promise<Shown> => {
  const path = `/v2.1/servers/${id}/os-instance-actions`;
  const { instanceActions } = await shown<{ instanceActions: readonly Shown[] }>(path);
  const listed = instanceActions.find((a) => a.action === action)!;
  const { instanceAction } = await shown<{ instanceAction: Shown }>(`${path}/${listed.request_id}`);
  expect(instanceAction.message).toBe(listed.message);
  return instanceAction;
};
const outcome = async (id: ServerId, action: string) => {
  const { message, events } = await actionOf(id, action);
  const { result, details, finish_time } = events.at(-1)!;
  return { message, result, details, finished: finish_time !== null };
};
const open = { message: null, result: null, details: null, finished: false };
const failed = (details: string) => ({ message: 'Error', result: 'Error', details, finished: true });
const success = { message: null, result: 'Success', details: null, finished: true };

describe('an instance action that its server does not end', () => {
  it.each([
    ['rebuild', { rebuild: { imageRef: IMAGE } }],
    ['rescue', { rescue: {} }],
    ['createImage', { createImage: { name: 'snap' } }],
    ['suspend', { suspend: null }],
    ['migrate', { migrate: { host: null } }],
  ])('fails with the deletion, which goes on until the server is gone: %s', async (action, body) => {
    const id = await active();
    await act(id, body);
    expect(await outcome(id, action)).toEqual(open);
    await remove(id);
    expect(await outcome(id, action)).toEqual(failed('The server was deleted.'));
    expect(await outcome(id, 'delete')).toEqual(open);
    await report(id, { kind: 'absent' });
    expect(await outcome(id, 'delete')).toEqual(success);
    expect(await outcome(id, action)).toEqual(failed('The server was deleted.'));
  });

  it('fails when the guest is missing', async () => {
    const id = await active();
    await act(id, { pause: null });
    await app.report(id, { kind: 'missing' });
    expect(await outcome(id, 'pause')).toEqual(failed('The guest is no longer on its host.'));
  });

  it('fails when the state is set by hand, unless it begins after that in the same moment', async () => {
    const id = await active();
    await act(id, { suspend: null });
    await act(id, { 'os-resetState': { state: 'active' } });
    expect(await outcome(id, 'suspend')).toEqual(failed('An administrator set the state by hand.'));
    await act(id, { pause: null });
    expect(await outcome(id, 'pause')).toEqual(open);
  });

  it('waits for its host when only the state of the server was set', async () => {
    const id = await active();
    await send(id, { type: 'detachInterface', serverId: id, portId: PORT, asAdmin: false, now: app.clock.now() });
    await act(id, { 'os-resetState': { state: 'active' } });
    expect(await outcome(id, 'detach_interface')).toEqual(open);
    await app.report(id, { kind: 'interfaceDone', portId: PORT, change: 'detach' }, requestOf(id));
    expect(await outcome(id, 'detach_interface')).toEqual(success);
  });

  it('fails by the next event when the gateway that would have settled it is gone', async () => {
    const id = await active();
    await send(id, { type: 'crashDump', serverId: id, asAdmin: false });
    await act(id, { lock: null });
    expect(await outcome(id, 'trigger_crash_dump')).toEqual(open);
    await app.clock.advance(seconds(120));
    await act(id, { unlock: null });
    expect(await outcome(id, 'trigger_crash_dump')).toEqual(failed('Nobody has heard what came of it.'));
  });
});
