import { AdminReply, AdminRequest, adminSubject, endpoint, type ServerId, seconds } from '@omnivisor/contracts';
import type { Table } from '@omnivisor/eventsourcing';
import { KEYS_REMEMBERED, type PersonalKeys } from '@omnivisor/eventsourcing/personal';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { history } from '../../compute/server/lifecycle/server.fixtures.js';
import { serverTable } from '../../compute/server/view/server.projection.js';
import type { GatewayCore } from '../../core/gateway-core.js';
import { userTable } from '../../identity/record/tables.js';
import { gatewayProjections } from '../../projections.js';
import { replay } from '../replay.js';
import { AuditCloud, type Person } from '../testing/audit-cloud.js';
import { Erasure } from './erasure.js';

const { serverId } = history;

let cloud: AuditCloud;
let jane: Person;
let admin: string;
let atFirst: number;
beforeAll(async () => {
  cloud = await AuditCloud.start();
  jane = await cloud.person('Jane Doe', 'member', "Jane's own");
  const request = { ...history.request, projectId: jane.projectId, userId: jane.userId, description: 'Jane was here' };
  await cloud.serverEvents(serverId, [{ type: 'ServerCreateRequested', data: request as never }], cloud.context(jane));
  admin = await cloud.admin();
  await send('PATCH', `users/${jane.userId}`, { user: { description: 'Jane, the lodger', employeeId: 'J-4711' } });
  atFirst = await cloud.core.head();
});
afterAll(() => cloud?.stop());

const send = async (method: string, path: string, body?: object) => {
  const answer = await cloud.call(`/identity/v3/${path}`, admin, { method, ...(body ? { body } : {}) });
  expect(answer.status).toBeLessThan(300);
  return answer.body;
};
const admins = async (args: object) => {
  const e = endpoint(adminSubject('api-gateway', 'audit-erase'), AdminRequest, AdminReply, 60_000);
  return (await cloud.core.bus.request(e, { args: { reason: 'asked to', by: 'operator', confirmed: true, ...args } }))
    .result as Record<string, unknown>;
};
const events = async (type: string) =>
  (await cloud.core.store.readAll(0, 10_000)).filter((event) => event.type === type);
const user = () => ({ kind: 'user', id: jane.userId });
const project = () => ({ kind: 'project', id: jane.projectId });

describe('erasing what is personal', () => {
  it('is refused while the user, the project or the day is there', async () => {
    await expect(admins({ subject: user() })).rejects.toMatchObject({ kind: 'conflict', message: /delete it first/ });
    await expect(admins({ subject: project() })).rejects.toMatchObject({ kind: 'conflict' });
    const today = cloud.core.clock.now().slice(0, 10);
    await expect(admins({ subject: { kind: 'logins', id: today } })).rejects.toMatchObject({ kind: 'conflict' });
    await expect(admins({ subject: { kind: 'logins', id: 'ever' } })).rejects.toMatchObject({ kind: 'invalid' });
    await expect(admins({ subject: { kind: 'user', id: 'nobody' } })).rejects.toMatchObject({ kind: 'notFound' });
  });

  it('stands nowhere in the log, nor in the index of it', async () => {
    expect(JSON.stringify(await cloud.world.store.readStored(0, 10_000))).not.toMatch(/Jane|4711/);
    const found = await cloud.eventIndex.find({
      resource: 'J-4711',
      after: 0,
      until: 1e9,
      order: 'newest first',
      limit: 9,
    });
    expect(found).toEqual([]);
  });

  it('says what there is, and erases nothing unless that is confirmed', async () => {
    await send('DELETE', `users/${jane.userId}`);
    expect(await admins({ subject: user(), confirmed: false })).toEqual({ closed: 2, plain: 0, erased: false });
    const [created] = (await events('UserCreated')).filter(({ stream }) => stream === `user-${jane.userId}`);
    expect(created!.data).toMatchObject({ attributes: { name: 'Jane Doe' } });
  });

  it('leaves nothing of a user in log and history, and says who did it and why', async () => {
    const before = (await cloud.core.lookingBack(`${atFirst}`, async () =>
      (await cloud.core.fresh()).get(userTable, jane.userId),
    ))!;
    expect(before).toMatchObject({ name: 'Jane Doe', extra: { employeeId: 'J-4711' } });
    expect(await admins({ subject: user() })).toMatchObject({ erased: true, closed: 2, plain: 0, rows: 3 });
    const [created] = (await events('UserCreated')).filter(({ stream }) => stream === `user-${jane.userId}`);
    expect(created!.data).toMatchObject({ attributes: { name: 'erased', description: null } });
    const then = await cloud.core.lookingBack(`${atFirst}`, async () =>
      (await cloud.core.fresh()).get(userTable, jane.userId),
    );
    expect(then).toEqual({ ...before, name: 'erased', description: 'erased', extra: {} });
    expect(await events('PersonalDataErased')).toMatchObject([
      { stream: `personal-user-${jane.userId}`, data: { subject: user(), reason: 'asked to', by: 'operator' } },
    ]);
  });

  it('takes what is personal of a project out of the rows of its servers', async () => {
    const row = async () => (await cloud.core.fresh()).get(serverTable, serverId);
    expect(await row()).toMatchObject({ description: 'Jane was here' });
    await send('DELETE', `projects/${jane.projectId}`);
    expect(await admins({ subject: project() })).toMatchObject({ erased: true });
    expect(await row()).toMatchObject({ description: 'erased' });
    expect(await replay(cloud.core.store, cloud.core.readModel, gatewayProjections)).toMatchObject({ equal: true });
  });

  it('is looked at again when every replica has forgotten the key, and is told then', async () => {
    await cloud.world.clock.runUntil(async () => (await events('PersonalDataForgotten')).length === 4, seconds(60));
    expect((await events('PersonalDataForgotten')).map(({ data }) => data)).toEqual([
      { subject: user(), rows: 0, partial: true },
      { subject: project(), rows: 1, partial: true },
      { subject: user(), rows: 0 },
      { subject: project(), rows: 0 },
    ]);
    expect(cloud.errors.filter((e) => !/scheduler|nobody/.test(String(e)))).toEqual([]);
  });

  it('twice changes nothing more', async () => {
    await admins({ subject: user() });
    expect(await events('PersonalDataErased')).toHaveLength(2);
  });

  const dead = () => Promise.reject(new Error('the gateway died'));
  it.each<[string, (core: GatewayCore, keys: PersonalKeys) => { core?: object; keys?: object }]>([
    ['the key is destroyed', () => ({ keys: { destroy: dead } })],
    ['rows are made anew', () => ({ core: { forget: dead } })],
    [
      'that is told',
      ({ commands }) => {
        const execute: typeof commands.execute = (aggregate, key, command, context) =>
          context.commandId.endsWith(':looked') ? dead() : commands.execute(aggregate, key, command, context);
        return { core: { commands: Object.assign(Object.create(commands), { execute }) } };
      },
    ],
  ])('is gone on with by another gateway when one dies before %s', async (what, fails) => {
    const { core, personalKeys } = cloud.service.gateway;
    const john = await cloud.person(`John ${what}`, 'member', `John's, ${what}`);
    const server = cloud.core.ids.uuid() as ServerId;
    const request = { ...history.request, serverId: server, projectId: john.projectId, description: 'John was here' };
    const asked = { type: 'ServerCreateRequested', data: request as never } as const;
    await cloud.serverEvents(server, [asked], cloud.context(john));
    await send('DELETE', `projects/${john.projectId}`);
    const folded = (await (await cloud.core.fresh()).get(serverTable, server))!;
    const subject = { kind: 'project', id: john.projectId } as const;
    const stream = `personal-project-${john.projectId}`;
    const told = async () =>
      (await cloud.world.store.readStream(stream)).map(({ type, data }) => [type, data] as const);
    const [ref] = await personalKeys.refs(subject);
    const parts = fails(core, personalKeys);
    const dying = new Erasure(
      Object.assign(Object.create(core), parts.core),
      cloud.world.store,
      Object.assign(Object.create(personalKeys), parts.keys),
    );
    await expect(dying.erase(subject, 'asked to', 'operator')).rejects.toThrow('died');

    const looks = async () => (await told()).filter(([type]) => type === 'PersonalDataForgotten');
    await cloud.world.clock.runUntil(async () => (await looks()).length > 0, seconds(60));
    expect(await looks()).toMatchObject([[expect.anything(), { partial: true }]]);
    const gone = cloud.world.clock.now();
    expect(await personalKeys.key(ref!)).toBeNull();
    // A replica that remembers the key has folded with it meanwhile.
    await cloud.world.readModel.advance(async (from) => ({
      to: from,
      changes: [{ table: serverTable as Table<never>, key: server, row: folded as never }],
    }));
    await cloud.world.clock.runUntil(
      async () => (await looks()).some(([, data]) => !('partial' in (data as object))),
      seconds(60),
    );
    const waited = Date.parse(cloud.world.clock.now()) - Date.parse(gone);
    expect(waited).toBeGreaterThan(KEYS_REMEMBERED);
    expect(await cloud.world.readModel.get(serverTable, server)).toMatchObject({ description: 'erased' });
  });

  it('tells of what an older release wrote in the clear, which stays', async () => {
    const id = 'of-old';
    const attributes = { name: 'Old Jane', domainId: 'default', description: null, enabled: true, extra: {} };
    const events = [
      { type: 'UserCreated', data: { id, attributes } },
      { type: 'UserDeleted', data: { id } },
    ];
    const context = cloud.context({ service: 'api-gateway' });
    await cloud.world.store.append(
      `user-${id}`,
      -1,
      events.map((event) => ({ ...event, schemaVersion: 1, context })),
    );
    const found = await admins({ subject: { kind: 'user', id } });
    expect(found).toEqual({ closed: 0, plain: 1, erased: true, rows: 0 });
    const [created] = await cloud.core.store.readStream(`user-${id}`);
    expect(created!.data).toEqual({ id, attributes });
  });
});
