import { seconds } from '@omnivisor/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type ComputeApp, computeApp } from '../../compute-app.fixtures.js';
import { administratorOf } from './server-password-change.js';

let app: ComputeApp;
let id: string;
/** What the host was asked. */
let asked: { user: string; password: string }[];
let answer: { ok?: boolean; unsupported?: boolean };
beforeAll(async () => {
  app = await computeApp();
  id = await running();
});
afterAll(() => app?.close());
beforeEach(() => {
  asked = [];
  answer = {};
  app.hostAnswers = (question) => {
    if (question.kind !== 'setPassword') return undefined;
    asked.push(question);
    return answer;
  };
});

const running = async () => {
  const made = await app.create();
  await app.activate(made);
  return made;
};
const SECRET = 'correct horse "battery" staple';
const change = (of = id, as: 'admin' | 'member' | 'other' | 'reader' = 'member', version = '2.1') =>
  app.call('POST', `/v2.1/servers/${of}/action`, { as, version, body: { changePassword: { adminPass: SECRET } } });
const actions = async () => {
  const { body } = await app.call('GET', `/v2.1/servers/${id}/os-instance-actions`);
  return (body as { instanceActions: object[] }).instanceActions;
};
const refused = (message: string) => ({ status: 409, body: { conflictingRequest: { message } } });

describe('the password of an administrator inside a server', () => {
  it.each(['2.1', '2.104'])('at %s is changed by its guest, and written down nowhere', async (version) => {
    const { status, text } = await change(id, 'member', version);
    expect([status, text]).toEqual([202, '']);
    expect(asked).toMatchObject([{ user: 'root', password: SECRET }]);
    const events = await app.events();
    expect(events.slice(-2)).toMatchObject([
      {
        type: 'ServerPasswordChangeRequested',
        data: { serverId: id, user: 'root' },
        context: { actor: { userId: 'u1' } },
      },
      { type: 'ServerPasswordChanged', data: { serverId: id } },
    ]);
    expect(JSON.stringify([events, app.complaints])).not.toContain('battery');
    expect(await actions()).toContainEqual(expect.objectContaining({ action: 'changePassword', message: null }));
  });

  it.each([
    ['does not do it', { ok: false }, 'Failed to set admin password on ID because error setting admin password'],
    ['has no agent', { ok: false, unsupported: true }, 'Guest agent is not enabled for the instance'],
  ])('stays as it is when its guest %s', async (_, said, message) => {
    answer = said;
    const text = message.replace('ID', id);
    expect(await change()).toMatchObject(refused(text));
    expect((await app.events()).at(-1)).toMatchObject({
      ...{ type: 'ServerPasswordChangeFailed', data: { fault: { code: 409, message: text } } },
    });
    expect(await actions()).toContainEqual(expect.objectContaining({ action: 'changePassword', message: 'Error' }));
  });

  it('is not waited for without an end', async () => {
    let answered: ReturnType<typeof change> | undefined;
    await new Promise<void>((resolve) => {
      app.hostAnswers = () => void resolve();
      answered = change();
    });
    await app.clock.advance(seconds(30));
    const message = `Failed to set admin password on ${id} because its host does not answer`;
    expect(await answered!).toMatchObject(refused(message));
  });

  it('is refused where the hypervisor reaches no guest', async () => {
    await app.hostLacks('guestAgent');
    expect(await change()).toMatchObject({
      ...{ status: 501, body: { notImplemented: { message: 'Unable to set password on instance' } } },
    });
    await app.hostLacks();
    expect(asked).toEqual([]);
  });

  it('is asked of guests that run', async () => {
    const waits = await app.create();
    const building = `Cannot 'changePassword' instance ${waits} while it is in vm_state building`;
    expect(await change(waits)).toMatchObject(refused(building));
    await app.activate(waits);
    await app.report(waits, { kind: 'powerChanged', power: 'shutdown', bootId: 'b' });
    const stopped = `Cannot 'changePassword' instance ${waits} while it is in vm_state stopped`;
    expect(await change(waits)).toMatchObject(refused(stopped));
    expect(asked).toEqual([]);
  });

  it('is for members of its project, and not while it is locked', async () => {
    expect((await change(id, 'other')).status).toBe(404);
    expect((await change(id, 'reader')).status).toBe(403);
    const locked = await running();
    await app.call('POST', `/v2.1/servers/${locked}/action`, { body: { lock: null } });
    expect(await change(locked)).toMatchObject(refused(`Instance ${locked} is locked`));
    expect((await change(locked, 'admin')).status).toBe(202);
    expect(asked).toHaveLength(1);
  });

  it.each([{}, { adminPass: 7 }, { adminPass: SECRET, user: 'root' }, null])('wants a text: %j', async (value) => {
    const wrong = await app.call('POST', `/v2.1/servers/${id}/action`, { body: { changePassword: value } });
    expect(wrong.status).toBe(400);
    expect(wrong.text).not.toContain('battery');
  });
});

it.each([
  [{}, 'root'],
  [{ os_type: 'linux' }, 'root'],
  [{ os_type: 'windows' }, 'Administrator'],
  [{ os_type: 'windows', os_admin_user: 'me' }, 'me'],
])('the administrator of an image with %j is %s', (properties, user) =>
  expect(administratorOf(properties as Record<string, string>)).toBe(user),
);
