import type { ServerEvent } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { history } from '../../compute/server/lifecycle/server.fixtures.js';
import { AuditCloud, type Person } from '../testing/audit-cloud.js';

const { serverId } = history;

let cloud: AuditCloud;
let owner: Person;
let auditor: Person;
let stranger: Person;
let url: string;
beforeAll(async () => {
  cloud = await AuditCloud.start();
  owner = await cloud.person('owner', 'member', 'web');
  auditor = await cloud.person('auditor', 'auditor', 'web');
  stranger = await cloud.person('stranger', 'auditor', 'other');
  url = `http://127.0.0.1:${await cloud.service.app.listen(0, '127.0.0.1')}`;
});
afterAll(() => cloud?.stop());

/** Reads messages of the stream, until `count` of them have come or it ends. */
const reading = async (token: string, query: string, headers: Record<string, string> = {}) => {
  const abort = new AbortController();
  const answer = await fetch(`${url}/audit/v1/events/stream${query}`, {
    headers: { 'x-auth-token': token, ...headers },
    signal: abort.signal,
  });
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  return {
    answer,
    take: async (count: number) => {
      const found = () => [...text.matchAll(/^id: (\d+)\nevent: (\w+)\ndata: (.+)$/gm)];
      while (found().length < count) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
      }
      return found().map(([, id, event, data]) => ({ id: Number(id), event, data: JSON.parse(data!) }));
    },
    ended: async () => {
      while (!(await reader.read()).done);
    },
    close: () => abort.abort(),
  };
};

const created = (projectId: string): ServerEvent => ({
  type: 'ServerCreateRequested',
  data: { ...history.request, projectId } as never,
});
const locked: ServerEvent = { type: 'ServerLocked', data: { serverId, reason: null, by: 'owner' } };

describe('following the log', () => {
  it('does not wait for a position that the log does not have, as after an older one was restored', async () => {
    const head = await cloud.core.head();
    const beyond = await reading(auditor.token, '', { 'last-event-id': String(head + 1) });
    expect(beyond.answer.status).toBe(400);
    beyond.close();
  });

  it('tells of events as they come, of the own project only, and goes on where it was', async () => {
    const [mine, foreign] = [await reading(auditor.token, ''), await reading(stranger.token, '?type=ServerLocked')];
    expect(mine.answer.headers.get('content-type')).toBe('text/event-stream');
    await mine.take(0);
    await cloud.serverEvents(serverId, [created(owner.projectId)], cloud.context(owner));
    const [first] = await mine.take(1);
    expect(first).toMatchObject({ event: 'ServerCreateRequested', data: { project_id: owner.projectId } });
    mine.close();
    await cloud.serverEvents(serverId, [locked], cloud.context(owner));
    const again = await reading(auditor.token, '?type=ServerLocked', { 'last-event-id': String(first!.id) });
    expect((await again.take(1)).map((m) => m.event)).toEqual(['ServerLocked']);
    again.close();
    foreign.close();
  });

  it('ends when the token is revoked', async () => {
    const own = await cloud.login('auditor', 'correct horse battery staple', { project: { id: auditor.projectId } });
    const stream = await reading(own, '?type=ServerUnlocked');
    const revoked = await cloud.call('/identity/v3/auth/tokens', own, {
      method: 'DELETE',
      headers: { 'x-subject-token': own },
    });
    expect(revoked.status).toBe(204);
    await stream.ended();
  });

  it('ends when the service stops', async () => {
    const other = await AuditCloud.start();
    const person = await other.person('auditor', 'auditor', 'web');
    const address = `http://127.0.0.1:${await other.service.app.listen(0, '127.0.0.1')}`;
    const answer = await fetch(`${address}/audit/v1/events/stream`, { headers: { 'x-auth-token': person.token } });
    const reader = answer.body!.getReader();
    await other.stop();
    while (!(await reader.read()).done);
  });
});
