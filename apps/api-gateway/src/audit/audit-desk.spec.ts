import { AdminReply, AdminRequest, adminSubject, endpoint, eventSets, type ServerEvent } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { history } from '../compute/server/lifecycle/server.fixtures.js';
import { serverTable } from '../compute/server/view/server.projection.js';
import { actionOf, TARGETS } from './cadf/cadf-event.js';
import { AuditCloud, type Person } from './testing/audit-cloud.js';

const { serverId, host } = history;

let cloud: AuditCloud;
let owner: Person;
let reader: Person;
let before: number;
beforeAll(async () => {
  cloud = await AuditCloud.start();
  owner = await cloud.person('owner', 'member', 'web');
  reader = await cloud.person('curious', 'auditor', 'web');
  before = await cloud.core.head();
  const asked = cloud.context(owner);
  const request = { ...history.request, projectId: owner.projectId, userId: owner.userId };
  const [created] = await cloud.serverEvents(
    serverId,
    [{ type: 'ServerCreateRequested', data: request as never }],
    asked,
  );
  // The gateway's own process asks a scheduler that is not there, and gives up.
  while ((await cloud.core.store.readStream(`server-${serverId}`)).length < 2)
    await cloud.world.clock.advance(1 as never);
  const caused = { requestId: asked.requestId, correlationId: asked.requestId, causationId: created!.id };
  await cloud.core.store.append(`provider-${host}`, -1, [
    {
      type: 'AllocationClaimed',
      data: { providerId: host, serverId, attempt: 1, projectId: owner.projectId, userId: owner.userId, explanation },
      schemaVersion: 1,
      context: cloud.context({ service: 'scheduler' }, caused),
    },
  ]);
  await cloud.core.store.append(`host-${host}`, -1, [
    {
      type: 'HostSessionStarted',
      data: { hostId: host, session: 1, facts: { hostname: 'alpha', hypervisorType: 'QEMU', hypervisorVersion: 7 } },
      schemaVersion: 1,
      context: cloud.context({ service: 'scheduler' }),
    },
  ]);
  await cloud.serverEvents(serverId, [history.scheduled()], cloud.context({ service: 'api-gateway' }, caused));
  await cloud.serverEvents(serverId, [history.spawned], cloud.context({ service: `host-${host}` }, caused));
  expect((await cloud.call(`/compute/v2.1/servers/${serverId}`, reader.token, { method: 'DELETE' })).status).toBe(403);
  await cloud.service.refusals.settled();
});
afterAll(() => cloud?.stop());

const explanation = {
  position: 1,
  settingsVersion: 1,
  hostsConsidered: 2,
  hostsFitting: 1,
  refusals: [],
  sample: [],
  smallestChange: null,
  weigher: 'best fit',
};

// biome-ignore lint/suspicious/noExplicitAny: specs look into answers freely
const ask = async (command: string, args: Record<string, unknown> = {}): Promise<any> => {
  const e = endpoint(adminSubject('api-gateway', command), AdminRequest, AdminReply, 60_000);
  return (await cloud.world.bus.request(e, { args })).result;
};

describe('why', () => {
  it('tells what caused what, over services, down to the hypervisor call', async () => {
    const { requests, more } = await ask('audit-why', { server: serverId });
    expect(more).toBe(false);
    const [root] = requests;
    expect(root.who).toBe(`user ${owner.userId} from 192.0.2.7`);
    const [created] = root.effects;
    expect(created).toMatchObject({ type: 'ServerCreateRequested', service: 'api-gateway' });
    const effects = Object.fromEntries(created.effects.map((e: { type: string }) => [e.type, e]));
    expect(effects.AllocationClaimed).toMatchObject({
      service: 'scheduler',
      reasons: ['2 hosts considered, 1 could take it; weigher best fit'],
    });
    expect(effects.ServerSpawned).toMatchObject({
      service: 'compute-agent',
      call: { operation: 'spawn', host: 'compute-1', hypervisor: 'QEMU 7' },
    });
    expect(Object.keys(effects)).toContain('ServerScheduled');
  });

  it('does not know a server that never was', async () => {
    await expect(ask('audit-why', { server: '00000000-0000-4000-8000-000000000000' })).rejects.toThrow('no server');
  });
});

describe('a command', () => {
  it('says which of its arguments is wrong', async () => {
    await expect(ask('audit-list', { limit: 1_001 })).rejects.toThrow('limit: Too big: expected number to be <=1000');
    await expect(ask('audit-list', { outcome: 'odd' })).rejects.toThrow('outcome: ');
    await expect(ask('audit-who', {})).rejects.toThrow('arguments: ');
  });
});

describe('who', () => {
  it('tells who did something to a resource, and who tried to', async () => {
    expect(await ask('audit-who', { resource: serverId })).toMatchObject([
      {
        name: 'curious',
        what: expect.stringMatching(/^was refused DELETE .* with 403, by rule os_compute_api:servers:delete$/),
        outcome: 'failure',
      },
      { name: 'owner', type: 'ServerCreateRequested', address: '192.0.2.7', outcome: 'pending' },
    ]);
  });
});

describe('diff', () => {
  it('tells the rows that differ between two moments, and nothing else', async () => {
    const { rows } = await ask('audit-diff', { from: String(before) });
    const server = rows.find((r: { key: string; table: string }) => r.key === serverId && r.table === serverTable.name);
    expect(server).toMatchObject({ change: 'added', fields: { vmState: [null, 'active'] } });
    const until = await cloud.core.head();
    expect((await ask('audit-diff', { from: String(until - 1), to: String(until - 1) })).rows).toEqual([]);
    await cloud.serverEvents(serverId, [renamed], cloud.context(owner));
    const last = await cloud.core.head();
    expect((await ask('audit-diff', { from: String(last - 1), to: String(last) })).rows).toContainEqual(
      expect.objectContaining({
        key: serverId,
        change: 'changed',
        fields: expect.objectContaining({ name: ['web', 'db'] }),
      }),
    );
  });
});
const renamed: ServerEvent = { type: 'ServerRenamed', data: { serverId, name: 'db' } };

describe('replay', () => {
  it('equals the read model, and the history at any moment', async () => {
    expect(await ask('audit-replay')).toMatchObject({ equal: true });
    const head = await cloud.core.head();
    for (const at of [before, before + 2, head - 3, head])
      expect(await ask('audit-replay', { at: String(at) })).toMatchObject({ equal: true, position: at });
  });
});

describe('export', () => {
  const all = async (format: string, more: object = {}) => {
    const { after, until } = await ask('audit-range');
    const items = [];
    for (let at: number | null = after; at !== null; ) {
      const page: { items: object[]; next: number | null } = await ask('audit-export', {
        format,
        after: at,
        until,
        ...more,
      });
      items.push(...page.items);
      at = page.next;
    }
    return items as Record<string, never>[];
  };

  it('writes every event once, as it is recorded', async () => {
    expect(await all('jsonl')).toEqual(await cloud.core.store.readAll(0, 100_000));
  });

  it('writes the matters of one project, or of the cloud itself', async () => {
    const streams = async (project: string) => (await all('jsonl', { project })).map((e) => e.stream);
    expect(await streams(owner.projectId)).toContain(`server-${serverId}`);
    expect(await streams('none')).toContain(`host-${host}`);
    expect(await streams('none')).not.toContain(`server-${serverId}`);
    const [first] = await ask('audit-list', { project: 'none', limit: 1 });
    expect(first).toEqual((await all('jsonl', { project: 'none' }))[0]);
  });

  it('writes an accepted change and a refused request as CADF', async () => {
    const events = await all('cadf', { project: owner.projectId });
    const created = events.find(
      (e) => e.action === 'create' && (e.target as unknown as { id: string }).id === serverId,
    );
    expect(created).toMatchObject({
      typeURI: 'http://schemas.dmtf.org/cloud/audit/1.0/event',
      eventType: 'activity',
      eventTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+0000$/),
      outcome: 'pending',
      initiator: {
        id: owner.userId,
        typeURI: 'service/security/account/user',
        project_id: owner.projectId,
        host: { address: '192.0.2.7' },
      },
      target: { typeURI: 'service/compute/servers', project_id: owner.projectId },
      observer: { id: 'omnivisor/spec', name: 'api-gateway' },
    });
    expect(events.find((e) => e.requestPath)).toMatchObject({
      action: 'delete',
      outcome: 'failure',
      reason: { reasonType: 'HTTP', reasonCode: '403', policyId: 'os_compute_api:servers:delete' },
      initiator: { id: reader.userId },
      target: { id: serverId, typeURI: 'service/compute/servers' },
      requestPath: `/compute/v2.1/servers/${serverId}`,
    });
  });
});

describe('what is asked wrongly', () => {
  it.each([
    ['audit-list', { limit: 1_000_000 }, 'limit: '],
    ['audit-verify-range', { from: 0, count: 1e9 }, 'count: '],
    ['audit-verify-range', { from: 1_000_000, count: 5 }, 'no event from 1000000 on is sealed'],
    ['audit-who', {}, 'arguments: '],
    ['audit-show', { id: '0' }, 'no event 0'],
    ['audit-show', { id: '99999999999999999999' }, 'no event 99999999999999999999'],
    ['audit-prove', { id: '99999999999999999999' }, 'no sealed event 99999999999999999999'],
    ['report', { kind: 'weather', from: '2026-03-01T00:00:00Z' }, 'kind: '],
  ])('is told so by %s', async (command, args, told) => {
    await expect(ask(command, args)).rejects.toThrow(told);
  });
});

describe('CADF', () => {
  it('has an action of its taxonomy for each event of the catalog', () => {
    const roots =
      /^(create|read|update|delete|enable|disable|start|stop|allow|deny|revoke|authenticate|monitor|evaluate|unknown)(\/|$)/;
    const types = eventSets.flatMap((set) => Object.keys(set.events));
    for (const type of types) expect(actionOf(type)).toMatch(roots);
    for (const { stream } of eventSets) expect(TARGETS).toHaveProperty([stream]);
    const actions = Object.fromEntries(types.map((type) => [type, actionOf(type)]));
    expect(actions).toMatchObject({
      UserCreated: 'create',
      ProjectUpdated: 'update',
      RoleAssigned: 'allow',
      RoleUnassigned: 'revoke',
      ServerStopped: 'stop',
      ServerUnpaused: 'enable',
      ServerLocked: 'disable',
      ServerDeleted: 'delete',
      PortDeleted: 'delete',
      NetworkChanged: 'update',
      HostEnabled: 'enable',
    });
  });
});
