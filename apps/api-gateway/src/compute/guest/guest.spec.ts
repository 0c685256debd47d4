import { seconds } from '@omnivisor/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type ComputeApp, computeApp } from '../compute-app.fixtures.js';

const told = {
  ...{ hostname: 'web', operatingSystem: 'Debian GNU/Linux 12 (bookworm)', addresses: ['10.0.0.5', 'fe80::1'] },
  services: [{ name: 'Heartbeat', answers: true }],
};

let app: ComputeApp;
let id: string;
beforeAll(async () => {
  app = await computeApp();
  id = await app.create();
  await app.activate(id);
});
afterAll(() => app?.close());
beforeEach(() => tells(told));

const tells = (body: unknown) => {
  app.hostAnswers = ({ kind }) => (kind === 'guestDetails' ? { body: JSON.stringify(body) } : undefined);
};
const show = (as: 'admin' | 'member' | 'other' | 'reader' = 'reader', of = id, query = '') =>
  app.call('GET', `/v2.1/servers/${of}/os-omnivisor-guest${query}`, { as });

describe('what a guest tells of itself', () => {
  it('is told to its project and to administrators', async () => {
    const { operatingSystem, ...rest } = told;
    const guest = { ...rest, operating_system: operatingSystem };
    for (const as of ['reader', 'member', 'admin'] as const)
      expect(await show(as)).toMatchObject({ status: 200, body: { guest } });
    expect((await show('other')).status).toBe(404);
    expect((await show('reader', id, '?at=1')).status).toBe(400);
  });

  it('can be heard in one of two ways', async () => {
    await app.hostLacks('guestIntegration');
    expect((await show()).status).toBe(200);
    await app.hostLacks('guestAgent');
    expect((await show()).status).toBe(200);
    await app.hostLacks('guestIntegration', 'guestAgent');
    expect((await show()).status).toBe(501);
    await app.hostLacks();
  });

  it('is what it says while it runs', async () => {
    const waits = await app.create();
    expect((await show('reader', waits)).status).toBe(409);
    await app.activate(waits);
    await app.report(waits, { kind: 'powerChanged', power: 'shutdown', bootId: 'b' });
    expect((await show('reader', waits)).status).toBe(409);
  });

  it.each([
    ['no list', { ...told, addresses: 'all' }],
    ['too much', { ...told, hostname: 'x'.repeat(2_000) }],
    ['null', null],
  ])('is not believed when it is %s', async (_, body) => {
    tells(body);
    expect((await show()).status).toBe(503);
  });

  it('is not waited for without an end', async () => {
    let asked: ReturnType<typeof show> | undefined;
    await new Promise<void>((resolve) => {
      app.hostAnswers = () => void resolve();
      asked = show();
    });
    await app.clock.advance(seconds(10));
    expect((await asked!).status).toBe(503);
  });

  it('is not asked of a host that is down', async () => {
    await app.hostGoesDown();
    expect((await show()).status).toBe(503);
    await app.hostLacks();
  });
});
