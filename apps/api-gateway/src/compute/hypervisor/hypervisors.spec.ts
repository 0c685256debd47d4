import { hostEvents, seconds } from '@omnivisor/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { userContext } from '../../core/gateway-core.fixtures.js';
import { type ComputeApp, computeApp, HOST } from '../compute-app.fixtures.js';
import { hostTable } from '../host/host.projection.js';
import { numberOf } from '../host/host-usage.js';

let app: ComputeApp;
beforeAll(async () => {
  app = await computeApp();
});
afterAll(() => app?.close());

const LINE = ' 08:32:11 up 93 days, 18:25, 12 users,  load average: 0.20, 0.12, 0.14';
beforeEach(async () => {
  // What a list has heard is forgotten.
  await app.clock.advance(seconds(30));
  app.hostAnswers = ({ kind }) => (kind === 'uptime' ? { body: LINE } : undefined);
});
const path = '/v2.1/os-hypervisors';
const get = (of: string, version: string, as: 'admin' | 'member' = 'admin') =>
  app.call('GET', /^(\?|$)/.test(of) ? `${path}${of}` : `${path}/${of}`, { as, version });
const uptime = (version: string) => get(`${version < '2.53' ? numberOf({ id: HOST }) : HOST}/uptime`, version);
const shown = async (of: string, version = '2.88') => {
  const { body } = await get(of, version);
  const { hypervisor, hypervisors } = body as { hypervisor?: object; hypervisors?: object[] };
  return hypervisor ?? hypervisors![0];
};

describe('the uptime of a hypervisor', () => {
  it('is asked for until 2.87, by number or id as the version has it', async () => {
    const brief = { hypervisor_hostname: 'compute-1', state: 'up', status: 'enabled', uptime: LINE };
    expect((await uptime('2.10')).body).toEqual({ hypervisor: { id: numberOf({ id: HOST }), ...brief } });
    for (const version of ['2.53', '2.87'])
      expect((await uptime(version)).body).toEqual({ hypervisor: { id: HOST, ...brief } });
    expect((await uptime('2.88')).status).toBe(404);
  });

  it('is part of the hypervisor from 2.88 on', async () => {
    for (const version of ['2.88', '2.104']) {
      expect(await shown(HOST, version)).toMatchObject({ uptime: LINE });
      expect(await shown('detail', version)).toMatchObject({ uptime: LINE });
      expect(await shown('', version)).not.toHaveProperty('uptime');
    }
    expect(await shown(HOST, '2.87')).not.toHaveProperty('uptime');
  });

  it('is for administrators, of hypervisors that there are, and of now', async () => {
    expect((await get(`${HOST}/uptime`, '2.53', 'member')).status).toBe(403);
    expect((await get('0c2c7a4e-52a3-4b8e-8f4d-000000000009/uptime', '2.53')).status).toBe(404);
    expect((await get('x/uptime', '2.53')).status).toBe(400);
    expect((await get('x/uptime', '2.52')).status).toBe(404);
    expect((await get(`${HOST}/uptime?at=1`, '2.53')).status).toBe(400);
    expect(await shown(`${HOST}?at=${await app.core.store.head()}`)).toMatchObject({ uptime: null });
  });

  it('is null, and not built, where the agent is on another machine', async () => {
    app.hostAnswers = () => ({ ok: false, unsupported: true });
    expect(await shown(HOST)).toMatchObject({ uptime: null });
    expect((await uptime('2.53')).status).toBe(501);
  });

  it('is waited for two seconds, by a list of all hosts too', async () => {
    for (const [of, version, status] of [
      [HOST, '2.88', 200],
      ['detail', '2.88', 200],
      [`${HOST}/uptime`, '2.53', 503],
    ] as const) {
      let asked: ReturnType<typeof get> | undefined;
      await new Promise<void>((resolve) => {
        app.hostAnswers = () => void resolve();
        asked = get(of, version);
      });
      await app.clock.advance(seconds(2));
      expect((await asked!).status).toBe(status);
    }
  });

  it('is asked of each host once in a while by lists, whether it answers or not', async () => {
    let asked = 0;
    app.hostAnswers = () => {
      asked++;
      return { body: LINE };
    };
    for (const _ of [1, 2, 3]) expect(await shown('detail')).toMatchObject({ uptime: LINE });
    expect(asked).toBe(1);
    expect(await shown(HOST)).toMatchObject({ uptime: LINE });
    expect(asked).toBe(2);
    await app.clock.advance(seconds(30));
    let first: ReturnType<typeof shown> | undefined;
    await new Promise<void>((resolve) => {
      app.hostAnswers = () => void resolve();
      first = shown('detail');
    });
    await app.clock.advance(seconds(2));
    expect(await first).toMatchObject({ uptime: null });
    // Without another wait.
    expect(await shown('detail')).toMatchObject({ uptime: null });
  });

  it('is one line of plain text, whatever the host says', async () => {
    app.hostAnswers = () => ({ body: `up\n\u001b[31m${'x'.repeat(70_000)}` });
    expect(await shown(HOST)).toMatchObject({ uptime: `up[31m${'x'.repeat(249)}` });
  });

  it('is not asked of a host that is down', async () => {
    await app.hostGoesDown();
    const message = 'Compute service of compute-1 is unavailable at this time.';
    expect(await uptime('2.53')).toMatchObject({ status: 400, body: { badRequest: { message } } });
    expect(await shown(HOST)).toMatchObject({ state: 'down', uptime: null });
    await app.hostLacks();
  });
});

describe('hypervisors', () => {
  it('have the CPUs of all their servers, those with CPUs of their own too', async () => {
    const { store } = app.core;
    const facts = (await (await app.core.fresh()).find(hostTable))[0]!.facts!;
    const [stream, type] = [`host-${HOST}`, 'HostProbed' as const];
    const data = { hostId: HOST, probes: [], facts: { ...facts, vcpus: 3, dedicatedCpus: 5 } };
    const event = { type, data, schemaVersion: hostEvents.events[type].version, context: userContext() };
    await store.append(stream, (await store.readStream(stream)).length - 1, [event]);
    expect(await shown(HOST, '2.53')).toMatchObject({ vcpus: 8, vcpus_used: 0 });
    expect((await get('statistics', '2.53')).body).toMatchObject({ hypervisor_statistics: { vcpus: 8 } });
    await app.hostLacks();
  });
  it.each(['', 'detail', HOST])('refuse what a query has beyond what is known from 2.53 on: %s', async (of) => {
    expect((await get(`${of}?odd=1`, '2.53')).status).toBe(400);
    expect((await get(of === HOST ? `${numberOf({ id: HOST })}?odd=1` : `${of}?odd=1`, '2.52')).status).toBe(200);
  });
});
