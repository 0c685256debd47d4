import type { RequestId, TokenContext } from '@omnivisor/contracts';
import type { Refusal } from '@omnivisor/openstack';
import { fastify } from 'fastify';
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { memoryCore, memoryWorld, minutes } from '../core/gateway-core.fixtures.js';
import { IdentityCloud } from '../identity/testing/identity-cloud.js';
import { refusalMetrics } from './refusal-metrics.js';
import { Refusals } from './refusals.js';
import { refusalsBehind } from './refusals-behind.js';

const refusal = (n: number, userId = 'u1', projectId: string | null = 'p1'): Refusal => {
  const requestId = `req-00000000-0000-4000-8000-${String(n).padStart(12, '0')}` as RequestId;
  return {
    requestId,
    correlationId: requestId,
    token: { userId, projectId, domainId: null, roles: [{ id: 'r', name: 'reader' }] } as unknown as TokenContext,
    address: '192.0.2.1',
    operation: 'DELETE /compute/v2.1/servers/:id',
    rule: 'os_compute_api:servers:delete',
    params: { id: 's1', console_token: 'hush' },
    status: 403,
  };
};

const world = (limits = { queue: 100, perMinute: 3 }) => {
  const made = memoryWorld();
  const { core } = memoryCore([], made);
  const errors: unknown[] = [];
  const refusals = new Refusals(core, (_where, error) => errors.push(error), limits);
  const log = async () => {
    return (await made.store.readAll(0, 1_000)).filter((e) => e.stream.startsWith('refusal-'));
  };
  return { ...made, core, refusals, errors, log };
};

describe('refused requests in the log', () => {
  it('records who asked what, of which target, and which rule said no', async () => {
    const { refusals, log, clock } = world();
    refusals.record(refusal(1));
    refusals.record(refusal(2, 'u2', null));
    await refusals.settled();
    const [first, second] = await log();
    const day = clock.now().slice(0, 10);
    expect(first).toMatchObject({
      stream: `refusal-p1-${day}`,
      type: 'RequestRefused',
      data: {
        requestId: refusal(1).requestId,
        operation: 'DELETE /compute/v2.1/servers/:id',
        rule: 'os_compute_api:servers:delete',
        status: 403,
      },
      context: { actor: { kind: 'user', userId: 'u1', projectId: 'p1', roles: ['reader'], address: '192.0.2.1' } },
    });
    expect(second!.stream).toBe(`refusal-u2-${day}`);
  });

  it('keeps secrets of a path out of the log', async () => {
    const { refusals, log } = world();
    refusals.record(refusal(1));
    await refusals.settled();
    expect((await log())[0]!.data).toMatchObject({ targets: { id: 's1' } });
    expect(JSON.stringify(await log())).not.toContain('hush');
  });

  it('turns a flood of one caller into one event per minute', async () => {
    const { refusals, log, clock } = world();
    refusals.start();
    for (let n = 1; n <= 10; n++) refusals.record(refusal(n));
    refusals.record(refusal(11, 'u2'));
    await clock.advance(minutes(2));
    await refusals.settled();
    const events = await log();
    expect(events.filter((e) => e.type === 'RequestRefused')).toHaveLength(4);
    const counted = events.filter((e) => e.type === 'RefusalsCounted');
    expect(counted.map((e) => e.data)).toMatchObject([{ userId: 'u1', count: 7 }]);
    expect(refusals.totals).toEqual({ recorded: 5, counted: 7, dropped: 0 });
    await refusals.stop();
  });

  it('drops and counts what a full queue cannot hold', async () => {
    const { refusals, log } = world({ queue: 2, perMinute: 100 });
    for (let n = 1; n <= 5; n++) refusals.record(refusal(n));
    await refusals.settled();
    expect(refusals.totals.dropped).toBe(3);
    const registry = new Registry();
    refusalMetrics(registry, refusals);
    expect(await registry.metrics()).toMatch(/^omnivisor_gateway_refusals_dropped 3$/m);
    expect(await log()).toHaveLength(2);
  });

  it('goes on after the log was away', async () => {
    const { refusals, core, errors, log } = world();
    const execute = core.commands.execute.bind(core.commands);
    core.commands.execute = () => Promise.reject(new Error('away'));
    refusals.record(refusal(1));
    await refusals.settled();
    core.commands.execute = execute;
    refusals.record(refusal(2));
    await refusals.settled();
    expect(errors).toHaveLength(1);
    expect(refusals.totals).toMatchObject({ recorded: 1, dropped: 1 });
    expect(await log()).toHaveLength(1);
  });
});

describe('refusals of services behind the gateway', () => {
  it('are recorded with who asked, once the answer passed through', async () => {
    const { refusals, log } = world();
    const instance = fastify();
    const tokens = { validate: async (t: string) => (t === 'known' ? refusal(1).token : null) };
    refusalsBehind(instance, ['/image'], tokens, refusals);
    const { requestId } = refusal(7);
    instance.all('*', (_request, reply) => reply.code(403).header('x-openstack-request-id', requestId).send());
    const ask = (url: string, token?: string) =>
      instance.inject({ method: 'DELETE', url, headers: token === undefined ? {} : { 'x-auth-token': token } });
    await ask('/image/v2/images/i1?x=1', 'known');
    await ask('/image/v2/images/i2', 'unknown');
    await ask('/image/v2/images/i3');
    await ask('/imagery', 'known');
    await refusals.settled();
    expect((await log()).map((e) => e.data)).toMatchObject([
      { requestId, operation: 'DELETE /image/v2/images/i1', rule: null, status: 403 },
    ]);
    await instance.close();
  });
});

describe('failed logins in the log', () => {
  it('are one event for each source, kind and minute', async () => {
    const cloud = await IdentityCloud.start();
    for (let n = 0; n < 5; n++) await cloud.login('admin', 'wrong');
    for (let n = 0; n < 2; n++) await cloud.login('nobody', 'wrong');
    await cloud.identity.desk.guard.flush(true);
    const events = await cloud.shared.store.readAll(0, 1_000);
    const counted = events.filter((e) => e.type === 'LoginFailuresCounted');
    const kinds = counted.map((e) => e.data as { source: string; reason: string; minute: string });
    expect(new Set(kinds.map((k) => `${k.source} ${k.reason} ${k.minute}`)).size).toBe(kinds.length);
    expect(counted.reduce((sum: number, e: { data: unknown }) => sum + (e.data as { count: number }).count, 0)).toBe(7);
    await cloud.stop();
  });
});
