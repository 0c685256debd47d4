import type { ServerEvent } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { history } from '../../compute/server/lifecycle/server.fixtures.js';
import { AuditCloud, type Person } from '../testing/audit-cloud.js';

const { serverId, host } = history;
const OTHER = '5f3c7f0e-6f0c-4b32-9f0b-0d7a0c4f7a02';

let cloud: AuditCloud;
let [admin, owner, auditor, chief, stranger] = ['', {}, {}, {}, {}] as [string, Person, Person, Person, Person];

const created = (id: string, projectId: string): ServerEvent => ({
  type: 'ServerCreateRequested',
  data: { ...history.request, serverId: id, projectId } as never,
});
const of = (event: ServerEvent, id: string) => ({ ...event, data: { ...event.data, serverId: id } }) as ServerEvent;

beforeAll(async () => {
  cloud = await AuditCloud.start();
  admin = await cloud.admin();
  owner = await cloud.person('owner', 'member', 'web');
  auditor = await cloud.person('auditor', 'auditor', 'web');
  chief = await cloud.person('chief', 'auditor', 'system');
  stranger = await cloud.person('stranger', 'auditor', 'other');
  const asOwner = cloud.context(owner);
  await cloud.serverEvents(serverId, [created(serverId, owner.projectId)], asOwner);
  const asHost = cloud.context({ service: `host-${host}` }, { correlationId: asOwner.requestId });
  await cloud.serverEvents(serverId, [history.portsAllocated, history.scheduled(), history.spawned], asHost);
  await cloud.serverEvents(OTHER, [created(OTHER, stranger.projectId)], cloud.context(stranger));
  const failed = { type: 'ServerBuildFailed', data: { fault: { code: 500, message: 'no' } } } as ServerEvent;
  await cloud.serverEvents(OTHER, [of(failed, OTHER)], cloud.context({ service: 'api-gateway' }));
});
afterAll(() => cloud?.stop());

const list = async (token: string, query = '') => {
  const answer = await cloud.call(`/audit/v1/events${query}`, token);
  return { ...answer, events: answer.body.events as { type: string; position: number; project_id: string }[] };
};
const types = (answer: { events: { type: string }[] }) => answer.events.map((e) => e.type);

describe('the audit API', () => {
  it('shows an auditor of a project this project and nothing else', async () => {
    const seen = await list(auditor.token, '?limit=1000');
    expect(seen.status).toBe(200);
    expect(new Set(seen.events.map((e) => e.project_id))).toEqual(new Set([owner.projectId]));
    expect(types(seen)).toContain('ServerSpawned');
    expect(types(seen)).toContain('RoleAssigned');
    expect(JSON.stringify(seen.body)).not.toContain(OTHER);
    expect((await list(auditor.token, `?project_id=${stranger.projectId}`)).status).toBe(403);
    expect((await list(auditor.token, '?project_id=none')).status).toBe(403);
    expect((await list(auditor.token, `?resource_id=${OTHER}`)).events).toEqual([]);
    const [foreign] = (await list(chief.token, `?resource_id=${OTHER}`)).events;
    expect((await cloud.call(`/audit/v1/events/${foreign!.position}`, auditor.token)).status).toBe(404);
  });

  it('tells an auditor of a project no host', async () => {
    const seen = await list(auditor.token, `?resource_id=${serverId}&limit=1000`);
    expect(seen.events.length).toBeGreaterThan(3);
    for (const secret of [host, 'compute-1', history.schedule(1).providerId])
      expect(JSON.stringify(seen.body)).not.toContain(secret);
    expect(JSON.stringify((await list(admin, `?resource_id=${serverId}`)).body)).toContain(host);
  });

  it('is closed to who has no role that audits, and to who has no token', async () => {
    expect((await list(owner.token)).status).toBe(403);
    expect((await cloud.call('/audit/v1/events')).status).toBe(401);
    expect((await cloud.call('/audit/v1/events/stream', owner.token)).status).toBe(403);
  });

  it('shows auditors of the cloud and administrators everything', async () => {
    for (const token of [chief.token, admin]) {
      const seen = await list(token, '?limit=1000');
      const projects = new Set(seen.events.map((e) => e.project_id));
      for (const project of [owner.projectId, stranger.projectId, null]) expect(projects).toContain(project);
    }
  });

  it('finds by actor, resource, type and outcome', async () => {
    expect(types(await list(chief.token, `?actor_id=${owner.userId}&resource_id=${serverId}`))).toEqual([
      'ServerCreateRequested',
    ]);
    expect(types(await list(chief.token, `?resource_id=${OTHER}&outcome=failure`))).toEqual(['ServerBuildFailed']);
    expect(types(await list(chief.token, `?resource_id=${OTHER}&outcome=pending`))).toEqual(['ServerCreateRequested']);
    expect(types(await list(chief.token, `?project_id=${owner.projectId}&type=ServerSpawned`))).toEqual([
      'ServerSpawned',
    ]);
    expect(types(await list(chief.token, '?type=ServerSpawned&outcome=failure'))).toEqual([]);
  });

  it('finds what happened between two moments', async () => {
    const [first] = (await list(chief.token, `?resource_id=${serverId}&sort=asc`)).events;
    const { time } = (await cloud.call(`/audit/v1/events/${first!.position}`, chief.token)).body.event;
    await cloud.world.clock.advance(60_000 as never);
    const lock: ServerEvent = { type: 'ServerUnlocked', data: { serverId } };
    await cloud.serverEvents(serverId, [lock], cloud.context(owner));
    const after = encodeURIComponent(time);
    expect(types(await list(chief.token, `?resource_id=${serverId}&from=${after}`))).toEqual(['ServerUnlocked']);
    expect(types(await list(chief.token, `?resource_id=${serverId}&to=${first!.position}`))).toEqual([
      'ServerCreateRequested',
    ]);
    expect((await list(chief.token, '?from=yesterday')).status).toBe(400);
    expect((await list(chief.token, '?from=9&to=3')).status).toBe(400);
  });

  it.each(['asc', 'desc'])('gives every event once, page by page (%s)', async (sort) => {
    const whole = (await list(chief.token, `?limit=1000&sort=${sort}`)).events.map((e) => e.position);
    const paged: number[] = [];
    for (let path = `/audit/v1/events?limit=7&sort=${sort}`; ; ) {
      const { body } = await cloud.call(path, chief.token);
      paged.push(...body.events.map((e: { position: number }) => e.position));
      const next = body.events_links?.[0].href as string | undefined;
      if (next === undefined) break;
      path = next.replace(/^http:\/\/cloud\.example/, '');
    }
    expect(paged).toEqual(whole);
  });

  it('finds a refused request by its target and its outcome', async () => {
    const path = `/compute/v2.1/servers/${serverId}`;
    expect((await cloud.call(path, auditor.token, { method: 'DELETE' })).status).toBe(403);
    await cloud.service.refusals.settled();
    const refused = await list(auditor.token, `?outcome=failure&resource_id=${serverId}`);
    expect(refused.events).toMatchObject([
      {
        type: 'RequestRefused',
        actor: { id: auditor.userId },
        data: { operation: 'DELETE /compute/v2.1/servers/:id' },
      },
    ]);
  });

  it('does not wait long for an index that is being built', async () => {
    const advance = cloud.eventIndex.advance.bind(cloud.eventIndex);
    let build = () => {};
    const built = new Promise<void>((resolve) => {
      build = resolve;
    });
    cloud.eventIndex.advance = async (work) => {
      await built;
      return advance(work);
    };
    await cloud.serverEvents(serverId, [{ type: 'ServerUnlocked', data: { serverId } }], cloud.context(owner));
    const asked = list(chief.token);
    while (
      !(await Promise.race([asked.then(() => true), cloud.world.clock.advance(1_000 as never).then(() => false)]))
    );
    expect((await asked).status).toBe(503);
    cloud.eventIndex.advance = advance;
    build();
    expect((await list(chief.token)).status).toBe(200);
  });

  it.each(['limit=0', 'limit=1001', 'limit=x', 'type=Nothing', 'outcome=maybe', 'marker=x', 'limit=1&limit=2', 'x=1'])(
    'refuses %s',
    async (query) => {
      expect((await list(chief.token, `?${query}`)).status).toBe(400);
    },
  );
});
