import { hostBus, type ServerId, seconds } from '@omnivisor/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ForeignGuest } from '../../apps/compute-agent/src/drivers/hypervisor-driver.js';
import { type Belongings, settle } from '../api/people.js';
import { ApiCloud } from './api-cloud.js';
import type { SimulatedHost } from './cloud.js';

const GIB = 1024 ** 3;
const MAC = '52:54:00:00:00:07';

describe('a guest that somebody else made', () => {
  let api: ApiCloud;
  let of: Belongings;
  let host: SimulatedHost;
  let guest: ForeignGuest;
  let made = 0;
  beforeAll(async () => {
    api = await ApiCloud.start();
    of = await settle(api, 'own');
    host = api.cloud.hosts[0]!;
    api.cloud.errors.length = 0;
    const flavor = { name: 'theirs', vcpus: 3, ram: 1536, disk: 20 };
    await api.does('compute', 'POST', '/v2.1/flavors', { token: api.admin, body: { flavor } });
  }, 60_000);
  afterAll(() => api?.stop());
  beforeEach(() => {
    guest = {
      nativeId: `vm-${made++}`,
      name: 'Old accounting',
      power: 'running',
      vcpus: 3,
      memory: 1536 as never,
      disks: [
        { name: 'system', size: 20 * GIB },
        { name: 'data', size: 100 * GIB },
      ],
      nics: [{ mac: MAC, network: 'VM Network' }],
    };
    host.machine.foreignGuests.clear();
    host.machine.foreignGuests.set(guest.nativeId, guest);
  });

  const call = (method: string, path: string, body?: object, token = api.admin) =>
    api.call('compute', method, `/v2.1${path}`, { token, version: '2.99', ...(body ? { body } : {}) });
  const guests = () => `/os-hypervisors/${host.id}/os-omnivisor-guests`;
  const adopt = async (given: object = {}) =>
    call('POST', guests(), { adoption: { guest: guest.nativeId, project_id: of.projectId, ...given } });
  const adopted = async (given: object = {}) => {
    const { status, json, text } = await adopt(given);
    expect([status, text]).toEqual([202, expect.any(String)]);
    return api.cloud.until(json.server.id as ServerId, (s) => s.taskState === null, 5);
  };
  const release = (id: string) => call('POST', `/servers/${id}/os-omnivisor-release`, {});
  const ours = () => host.machine.all().filter((g) => g.adopted !== null);

  it('is shown to administrators only, as its hypervisor tells of it', async () => {
    expect((await call('GET', guests())).json).toEqual({
      guests: [
        {
          ...{ native_id: guest.nativeId, name: 'Old accounting', power_state: 'running', vcpus: 3, memory_mb: 1536 },
          ...{ disks: guest.disks, nics: guest.nics },
        },
      ],
    });
    expect((await call('GET', guests(), undefined, of.token)).status).toBe(403);
    expect((await call('GET', '/os-hypervisors/nowhere/os-omnivisor-guests')).status).toBe(404);
  });

  it.each(['no JSON', '{}', '[{"nativeId":1}]'])('is not known when its host answers %s', async (body) => {
    const { bus } = api.cloud;
    const request = bus.request.bind(bus);
    const lies = vi.spyOn(bus, 'request').mockImplementation((endpoint, asked, ...rest) => {
      const said = (endpoint as unknown) === hostBus.answer ? { ...(asked as object), body } : asked;
      return request(endpoint, said as typeof asked, ...rest);
    });
    expect((await call('GET', guests())).status).toBe(503);
    lies.mockRestore();
  });

  it('becomes a server with flavor, ports and disks in the log, and goes on; and is given back as it is', async () => {
    const server = await adopted({ name: 'accounting', ports: [{ mac: MAC, network: of.network }] });
    expect(server).toMatchObject({
      ...{ vmState: 'active', name: 'accounting', projectId: of.projectId, power: 'running' },
      ...{ flavor: { name: 'theirs' }, adoption: { nativeId: guest.nativeId, disks: guest.disks } },
      ports: [{ mac: MAC, networkId: of.network }],
    });
    expect(ours()).toMatchObject([{ power: 'running', adopted: guest, nics: [{ mac: MAC }] }]);
    expect(host.machine.foreignGuests.size).toBe(0);
    const shown = (await call('GET', `/servers/${server.id}`, undefined, of.token)).json.server;
    expect(shown).toMatchObject({ status: 'ACTIVE', image: '', flavor: { original_name: 'theirs' } });
    // It is a server like any other.
    await call('POST', `/servers/${server.id}/action`, { 'os-stop': null }, of.token);
    await api.cloud.until(server.id, (s) => s.vmState === 'stopped', 5);
    await call('POST', `/servers/${server.id}/action`, { 'os-start': null }, of.token);
    await api.cloud.until(server.id, (s) => s.vmState === 'active', 5);

    expect((await call('POST', `/servers/${server.id}/os-omnivisor-release`, {}, of.token)).status).toBe(403);
    expect((await release(server.id)).status).toBe(202);
    await api.cloud.until(server.id, (s) => s.vmState === 'deleted' && s.released, 5);
    expect(ours()).toEqual([]);
    expect([...host.machine.foreignGuests.values()]).toEqual([guest]);
    const { ports } = await api.does('network', 'GET', `/v2.0/ports?device_id=${server.id}`, { token: of.token });
    expect(ports).toEqual([]);
    const types = (await api.cloud.store.readStream(`server-${server.id}`)).map((e) => e.type);
    expect(types).toEqual([
      ...['ServerAdoptionRequested', 'ServerPortsAllocated', 'ServerScheduled', 'ServerSpawned'],
      ...['ServerStopRequested', 'ServerStopped', 'ServerStartRequested', 'ServerStarted'],
      ...['ServerReleaseRequested', 'ServerGuestAbsent', 'ServerDeleted', 'ServerResourcesReleased'],
    ]);
    const claims = (await api.cloud.store.readAll(0, 100_000)).filter(
      (e) => (e.data as { serverId?: string }).serverId === server.id && e.type.startsWith('Allocation'),
    );
    expect(claims.map((e) => e.type)).toEqual(['AllocationClaimed', 'AllocationReleased']);
  });

  it('stays off when it was off', async () => {
    host.machine.foreignGuests.set(guest.nativeId, { ...guest, power: 'shutdown' });
    expect(await adopted()).toMatchObject({ vmState: 'stopped', power: 'shutdown' });
    expect(ours()[0]).toMatchObject({ power: 'shutdown' });
    await release(ours()[0]!.mark.serverId);
    await api.cloud.clock.runUntil(() => ours().length === 0, seconds(60));
  });

  it.each([
    [{ guest: 'no such' }, 404, 'Guest no such could not be found'],
    [{ project_id: 'nobody' }, 400, 'Project nobody could not be found'],
    [{ ports: [{ mac: '52:54:00:00:00:08', network: '' }] }, 400, 'network'],
    [{ flavor: '1' }, 400, 'lavor 1'],
    [{ x: 1 }, 400, 'x'],
  ])('is not adopted with what does not fit: %j', async (given, status, text) => {
    const reply = await adopt(given);
    expect([reply.status, reply.text]).toEqual([status, expect.stringContaining(text)]);
    expect(ours()).toEqual([]);
  });

  it('with an interface that it has not, or a size that no flavor has, is not adopted', async () => {
    const stranger = await adopt({ ports: [{ mac: '52:54:00:00:00:08', network: of.network }] });
    expect([stranger.status, stranger.text]).toEqual([400, expect.stringContaining('no interface with the MAC')]);
    host.machine.foreignGuests.set(guest.nativeId, { ...guest, vcpus: 5 });
    expect((await adopt()).text).toContain('No flavor has the 5 vCPUs and 1536 MiB of the guest');
  });

  it('has a flavor whose disk is no smaller than its own, and an image of it all of its bytes', async () => {
    const flavor = async (name: string, disk: number): Promise<string> =>
      (await call('POST', '/flavors', { flavor: { name, vcpus: 3, ram: 1536, disk } })).json.flavor.id;
    const small = await flavor('small', 1);
    host.machine.foreignGuests.set(guest.nativeId, { ...guest, disks: [{ name: 'system', size: 40 * GIB - 1 }] });
    expect(await adopt()).toMatchObject({ status: 400, text: expect.stringContaining('its disk of 40 GiB') });
    expect(await adopt({ flavor: small })).toMatchObject({ status: 400, text: expect.stringContaining('40 GiB') });
    await flavor('large', 40);
    const { id } = await adopted();
    expect(await api.cloud.server(id)).toMatchObject({ flavor: { name: 'large' } });
    host.machine.slow('snapshot', seconds(5));
    const made = await call('POST', `/servers/${id}/action`, { createImage: { name: 'its' } }, of.token);
    const { image_id: image } = made.json;
    expect((await api.does('image', 'GET', `/v2/images/${image}`, { token: of.token })).min_disk).toBe(40);
    expect((await api.cloud.server(id)).operation?.snapshot?.maxBytes).toBeGreaterThan(40 * GIB);
    host.machine.slow('snapshot', seconds(0));
    await api.cloud.until(id, (s) => s.taskState === null, 5);
    await release(id);
    await api.cloud.until(id, (s) => s.vmState === 'deleted' && s.released, 5);
  });

  it('is rescued with an image that is named, and refused at once without', async () => {
    const { id } = await adopted();
    const rescue = await call('POST', `/servers/${id}/action`, { rescue: null }, of.token);
    expect(rescue).toMatchObject({ status: 400, text: expect.stringContaining('has no image') });
    expect(await api.cloud.server(id)).toMatchObject({ vmState: 'active', taskState: null, generation: 0 });
    const named = { rescue: { rescue_image_ref: of.image } };
    expect((await call('POST', `/servers/${id}/action`, named, of.token)).status).toBe(200);
    await api.cloud.until(id, (s) => s.vmState === 'rescued', 5);
    await call('POST', `/servers/${id}/action`, { unrescue: null }, of.token);
    await api.cloud.until(id, (s) => s.vmState === 'active', 5);
    await release(id);
    await api.cloud.until(id, (s) => s.vmState === 'deleted' && s.released, 5);
  });

  it('is left alone when its host cannot adopt it, and the server says why', async () => {
    host.machine.failNext('adopt');
    // The question for the guests fails first.
    expect((await call('GET', guests())).status).toBe(503);
    const gone = vi.spyOn(host.machine.foreignGuests, 'get').mockReturnValue(undefined);
    const { json } = await adopt();
    const server = await api.cloud.until(json.server.id as ServerId, (s) => s.taskState === null, 5);
    expect(server).toMatchObject({
      vmState: 'error',
      fault: { message: 'The guest cannot be adopted: there is no such guest to adopt.' },
    });
    gone.mockRestore();
    expect(ours()).toEqual([]);
    expect([...host.machine.foreignGuests.values()]).toEqual([guest]);
  });

  it('survives the release of its server while its host is away', async () => {
    const server = await adopted();
    await api.cloud.stopAgent(host);
    expect((await release(server.id)).status).toBe(202);
    await api.cloud.until(server.id, (s) => s.vmState === 'deleted', 60);
    expect(ours()).toHaveLength(1);
    await api.cloud.startAgent(host);
    await api.cloud.clock.runUntil(() => ours().length === 0, seconds(60));
    expect([...host.machine.foreignGuests.values()]).toEqual([guest]);
  });

  it('is never given back where it is nobody else’s', async () => {
    const { status, text } = await release(of.server);
    expect([status, text]).toEqual([409, expect.stringContaining('was not adopted')]);
  });
});
