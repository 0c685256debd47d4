import { AdminReply, AdminRequest, adminSubject, endpoint } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuditCloud, type Person } from '../audit/testing/audit-cloud.js';
import { history } from '../compute/server/lifecycle/server.fixtures.js';

let cloud: AuditCloud;
let owner: Person;
let start: string;
beforeAll(async () => {
  cloud = await AuditCloud.start();
  owner = await cloud.person('owner', 'member', 'web');
  start = cloud.world.clock.now();
  const request = { ...history.request, projectId: owner.projectId } as never;
  const context = () => cloud.context({ service: 'api-gateway' });
  const created = { type: 'ServerCreateRequested' as const, data: request };
  await cloud.serverEvents(history.serverId, [created, history.portsAllocated], context());
  await cloud.serverEvents(history.serverId, [history.scheduled(), history.spawned], context());
  await cloud.world.clock.advance(3_600_000 as never);
  await cloud.serverEvents(
    history.serverId,
    [{ type: 'ServerUnlocked', data: history.spawned.data as never }],
    context(),
  );
  await cloud.world.clock.advance(5_000 as never);
});
afterAll(() => cloud?.stop());

// biome-ignore lint/suspicious/noExplicitAny: specs look into answers freely
const ask = async (command: string, args: Record<string, unknown> = {}): Promise<any> => {
  const e = endpoint(adminSubject('api-gateway', command), AdminRequest, AdminReply, 60_000);
  return (await cloud.world.bus.request(e, { args })).result;
};

describe('a signed report', () => {
  it('counts up to what is sealed, and is verified against the log', async () => {
    const signed = await ask('report', { kind: 'usage', from: start });
    expect(signed.report.lines).toMatchObject([{ project: owner.projectId, servers: 1, coreHours: 1 }]);
    expect(signed.report.cloud).toBe('omnivisor/spec');
    expect(await ask('report-verify', { signed })).toEqual({ ok: true, problem: null });
    const licences = await ask('report', { kind: 'licences', from: start });
    expect(licences.report.lines).toMatchObject([{ osType: 'unknown', peakCores: 1 }]);
    expect(await ask('report-verify', { signed: licences })).toEqual({ ok: true, problem: null });
  });

  it('agrees with what the Compute API says of the project', async () => {
    const to = new Date(Date.parse(start) + 1_800_000).toISOString();
    const admin = await cloud.admin();
    const path = `/compute/v2.1/os-simple-tenant-usage/${owner.projectId}?start=${start.slice(0, 19)}&end=${to.slice(0, 19)}`;
    const { tenant_usage: usage } = (await cloud.call(path, admin)).body;
    const { report } = await ask('report', { kind: 'usage', from: start, to });
    expect(report.lines[0].coreHours).toBeCloseTo(usage.total_vcpus_usage, 2);
  });

  it('is found out when a figure, the period, its checkpoint or the key is another', async () => {
    const signed = await ask('report', { kind: 'usage', from: start });
    const changed = structuredClone(signed);
    changed.report.lines[0].coreHours = 0.5;
    expect(await ask('report-verify', { signed: changed })).toMatchObject({
      ok: false,
      problem: expect.stringContaining('not the one'),
    });
    const period = { ...signed, report: { ...signed.report, from: '2020-01-01T00:00:00.000Z' } };
    expect(await ask('report-verify', { signed: period })).toMatchObject({ ok: false });
    const beyond = { ...signed, report: { ...signed.report, position: signed.report.position + 100 } };
    expect(await ask('report-verify', { signed: beyond })).toMatchObject({
      problem: expect.stringContaining('checkpoint'),
    });
    const [key] = await ask('audit-key');
    expect(await ask('report-verify', { signed, keys: [key] })).toMatchObject({ ok: true });
    const foreign = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
    expect(await ask('report-verify', { signed, keys: [foreign] })).toMatchObject({ ok: false });
  });

  it('is not made of what is still to come, or of no time at all', async () => {
    await expect(ask('report', { kind: 'usage', from: start, to: '2999-01-01T00:00:00Z' })).rejects.toThrow(
      'still to come',
    );
    await expect(ask('report', { kind: 'usage', from: start, to: start })).rejects.toThrow('ends before');
  });
});
