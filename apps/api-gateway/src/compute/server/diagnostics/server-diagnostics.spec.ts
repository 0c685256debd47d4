import { type GuestStatistics, mib, seconds } from '@omnivisor/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type ComputeApp, computeApp } from '../../compute-app.fixtures.js';

let app: ComputeApp;
let id: string;
beforeAll(async () => {
  app = await computeApp();
  id = await app.create({ config_drive: true });
  await app.activate(id);
});
afterAll(() => app?.close());

const ask = (version: string, of = id, as: 'admin' | 'member' = 'admin') =>
  app.call('GET', `/v2.1/servers/${of}/diagnostics`, { as, version });
const told: GuestStatistics = {
  uptime: 75.4,
  cpus: [{ time: 2 ** 60 }, { time: null, utilisation: 12.4 }],
  memory: { maximum: mib(128), used: mib(40) },
  nics: [
    {
      ...{ portId: '22222222-2222-4222-8222-222222222222', mac: 'fa:16:3e:00:00:01', sent: null },
      received: { bytes: 100, packets: 2, errors: 0, drops: 1 },
      sentRate: 2048,
    },
  ],
  disks: [{ disk: 'root', readBytes: 512, readRequests: 1, writeBytes: 1024, writeRequests: 2, errors: null }],
};
const tells = (body: unknown) => {
  app.hostAnswers = ({ kind }) => (kind === 'statistics' ? { body: JSON.stringify(body) } : undefined);
};
beforeEach(() => tells(told));

describe('the diagnostics of a server', () => {
  it.each(['2.1', '2.47'])('at %s are numbers by the names that drivers give them', async (version) => {
    expect(await ask(version)).toMatchObject({ status: 200 });
    expect((await ask(version)).body).toEqual({
      cpu0_time: 2 ** 60,
      memory: 131_072,
      'memory-rss': 40_960,
      ...{ root_read: 512, root_read_req: 1, root_write: 1024, root_write_req: 2 },
      ...{ 'tap22222222-22_rx': 100, 'tap22222222-22_rx_packets': 2 },
      ...{ 'tap22222222-22_rx_errors': 0, 'tap22222222-22_rx_drop': 1 },
    });
  });

  it.each(['2.48', '2.104'])(
    'at %s have the same fields of every hypervisor, null where it tells nothing',
    async (v) => {
      expect((await ask(v)).body).toEqual({
        ...{ state: 'running', driver: 'libvirt', hypervisor: 'fake', hypervisor_os: 'linux' },
        ...{ uptime: 75, config_drive: true, num_cpus: 2, num_nics: 1, num_disks: 1 },
        cpu_details: [
          { id: 0, time: 2 ** 60, utilisation: null },
          { id: 1, time: null, utilisation: 12 },
        ],
        memory_details: { maximum: 128, used: 40 },
        nic_details: [
          {
            mac_address: 'fa:16:3e:00:00:01',
            ...{ rx_octets: 100, rx_packets: 2, rx_errors: 0, rx_drop: 1, rx_rate: null },
            ...{ tx_octets: null, tx_packets: null, tx_errors: null, tx_drop: null, tx_rate: 2048 },
          },
        ],
        disk_details: [{ read_bytes: 512, read_requests: 1, write_bytes: 1024, write_requests: 2, errors_count: null }],
      });
    },
  );

  it('are for administrators, of servers that there are, and of now', async () => {
    expect((await ask('2.48', id, 'member')).status).toBe(403);
    expect((await ask('2.48', '0c2c7a4e-52a3-4b8e-8f4d-000000000009')).status).toBe(404);
    expect((await ask('2.48', 'x')).status).toBe(404);
    const past = await app.call('GET', `/v2.1/servers/${id}/diagnostics?at=1`, { as: 'admin' });
    expect(past.status).toBe(400);
  });

  it('are those of a guest that runs', async () => {
    const waits = await app.create({ config_drive: true });
    expect(await ask('2.48', waits)).toMatchObject({
      ...{ status: 409, body: { conflictingRequest: { message: `Instance ${waits} is not ready` } } },
    });
    await app.activate(waits);
    await app.report(waits, { kind: 'powerChanged', power: 'shutdown', bootId: 'b' });
    const message = `Cannot 'get_diagnostics' instance ${waits} while it is in power state shutdown`;
    expect(await ask('2.48', waits)).toMatchObject({ status: 409, body: { conflictingRequest: { message } } });
  });

  it.each([
    ['no JSON', { body: '{' }],
    ['another form', { body: '{"uptime":"long"}' }],
    ['numbers that count nothing', { body: JSON.stringify({ ...told, uptime: -1 }) }],
    ['that it cannot tell', { ok: false }],
  ])('are not to be had from a host that says %s', async (_, answer) => {
    app.hostAnswers = () => answer;
    expect(await ask('2.48')).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
  });

  it('are not waited for without an end', async () => {
    let asked: ReturnType<typeof ask> | undefined;
    await new Promise<void>((resolve) => {
      app.hostAnswers = () => void resolve();
      asked = ask('2.48');
    });
    await app.clock.advance(seconds(10));
    expect((await asked!).status).toBe(503);
  });

  it('are not built where the hypervisor counts nothing', async () => {
    app.hostAnswers = () => ({ ok: false, unsupported: true });
    expect((await ask('2.48')).status).toBe(501);
    await app.hostLacks('statistics');
    tells(told);
    expect((await ask('2.48')).status).toBe(501);
    await app.hostLacks();
    expect((await ask('2.48')).status).toBe(200);
  });

  it('are not asked of a host that is down', async () => {
    await app.hostGoesDown();
    expect((await ask('2.48')).status).toBe(503);
    await app.hostLacks();
  });
});
