import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { history } from '../../compute/server/lifecycle/server.fixtures.js';
import { AuditCloud, type Person } from '../testing/audit-cloud.js';

const { serverId, host } = history;

let cloud: AuditCloud;
let owner: Person;
let auditor: Person;
let stranger: Person;
beforeAll(async () => {
  cloud = await AuditCloud.start();
  owner = await cloud.person('owner', 'member', 'web');
  auditor = await cloud.person('auditor', 'auditor', 'web');
  stranger = await cloud.person('stranger', 'auditor', 'other');
  const asked = cloud.context(owner);
  const request = { ...history.request, projectId: owner.projectId } as never;
  const [created] = await cloud.serverEvents(serverId, [{ type: 'ServerCreateRequested', data: request }], asked);
  const caused = { requestId: asked.requestId, correlationId: asked.requestId, causationId: created!.id };
  await cloud.serverEvents(
    serverId,
    [history.scheduled(), history.spawned],
    cloud.context({ service: `host-${host}` }, caused),
  );
});
afterAll(() => cloud?.stop());

const timeline = (token: string, id = serverId as string) => cloud.call(`/audit/v1/servers/${id}/timeline`, token);

describe('the timeline of a server', () => {
  it('has what caused what, without hosts for an auditor of its project', async () => {
    const { body, status } = await timeline(auditor.token);
    expect(status).toBe(200);
    const [created, ...rest] = body.events;
    expect(created).toMatchObject({ type: 'ServerCreateRequested', outcome: 'pending', cause_id: null });
    const spawned = rest.find((e: { type: string }) => e.type === 'ServerSpawned');
    expect(spawned).toMatchObject({
      cause_id: created.id,
      who: 'host',
      service: 'compute-agent',
      call: { operation: 'spawn', host: null },
    });
    for (const secret of [host, 'compute-1']) expect(JSON.stringify(body)).not.toContain(secret);
    expect(JSON.stringify((await timeline(await cloud.admin())).body)).toContain('compute-1');
  });

  it('does not exist for others', async () => {
    expect((await timeline(stranger.token)).status).toBe(404);
    expect((await timeline(owner.token)).status).toBe(403);
    expect((await timeline(await cloud.admin(), '00000000-0000-4000-8000-000000000000')).status).toBe(404);
    expect((await timeline(auditor.token, 'x')).status).toBe(404);
  });
});

describe('the page', () => {
  it('OSSA-2026-006 is served to everybody, and lets nothing in but itself', async () => {
    const { status, headers } = await cloud.call('/audit/ui/');
    expect([status, headers.location]).toEqual([302, 'http://cloud.example/audit/ui/index.html']);
    for (const [file, type] of [
      ['index.html', 'text/html'],
      ['timeline.js', 'text/javascript'],
      ['timeline.css', 'text/css'],
    ] as const) {
      const answer = await cloud.call(`/audit/ui/${file}`);
      expect(answer.status).toBe(200);
      expect(answer.headers['content-type']).toContain(type);
      expect(answer.headers['content-security-policy']).toContain("default-src 'none'");
    }
    for (const file of ['..%2f..%2fpackage.json', 'constructor', 'other.html'])
      expect((await cloud.call(`/audit/ui/${file}`)).status).toBe(404);
  });
});
