import { type ServerId, seconds } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Belongings, settle } from '../api/people.js';
import { ApiCloud } from './api-cloud.js';

describe('the actions of a server, from the API to its host', () => {
  let api: ApiCloud;
  let of: Belongings;
  let id: ServerId;
  beforeAll(async () => {
    api = await ApiCloud.start();
    of = await settle(api, 'own');
    id = of.server as ServerId;
    // Hosts that came before the gateway.
    api.cloud.errors.length = 0;
  }, 60_000);
  afterAll(() => api?.stop());

  const version = '2.104';
  const call = (method: string, path: string, body?: object) =>
    api.does('compute', method, `/v2.1/servers/${id}${path}`, { token: of.token, version, body });
  const act = (body: object) => call('POST', '/action', body);
  const guest = () => api.cloud.guests(id)[0]!;
  const row = () => api.cloud.server(id);
  const settled = () => api.cloud.until(id, (s) => s.taskState === null && !s.interfaces?.length, 5);

  it('suspend and resume', async () => {
    await act({ suspend: null });
    expect(await settled()).toMatchObject({ vmState: 'suspended', fault: null });
    expect(guest().power).toBe('suspended');
    await act({ resume: null });
    expect(await settled()).toMatchObject({ vmState: 'active', fault: null });
  });

  it('attach an interface, and detach it', async () => {
    const ports = async () =>
      (await api.does('network', 'GET', `/v2.0/ports?device_id=${id}`, { token: of.token })).ports.length;
    const before = guest().nics.length;
    const { interfaceAttachment: made } = await call('POST', '/os-interface', {
      interfaceAttachment: { net_id: of.network },
    });
    await call('POST', '/os-interface', { interfaceAttachment: { port_id: of.port } });
    await settled();
    expect(guest().nics).toHaveLength(before + 2);
    expect(await ports()).toBe(before + 2);
    for (const port of [made.port_id, of.port]) await call('DELETE', `/os-interface/${port}`);
    await api.cloud.until(id, (s) => s.ports?.length === before && s.releasing?.length === 0, 5);
    expect(guest().nics).toHaveLength(before);
    expect(await ports()).toBe(before);
    // What was its owner's before is its owner's again.
    const { port } = await api.does('network', 'GET', `/v2.0/ports/${of.port}`, { token: of.token });
    expect(port.device_id).toBe('');
  });

  it('rebuild', async () => {
    await act({ rebuild: { imageRef: of.image, name: 'anew' } });
    expect(await settled()).toMatchObject({ vmState: 'active', name: 'anew', build: guest().mark.build });
    expect(guest().mark.build).toBeGreaterThan(0);
  });

  it('rescue and unrescue', async () => {
    await act({ rescue: { rescue_image_ref: of.image } });
    expect(await settled()).toMatchObject({ vmState: 'rescued', fault: null });
    expect(guest().stage).toBe('rescued');
    await act({ unrescue: null });
    expect(await settled()).toMatchObject({ vmState: 'active', fault: null });
    expect(guest()).toMatchObject({ stage: 'settled', power: 'running' });
  });

  it('rebuild with an image that the host cannot serve is refused, and nothing happens', async () => {
    const before = guest();
    const made = { name: 'xen', disk_format: 'raw', container_format: 'bare', img_hv_type: 'xen' };
    const image = await api.does('image', 'POST', '/v2/images', { token: of.token, body: made });
    const bytes = { body: Buffer.alloc(2048), headers: { 'content-type': 'application/octet-stream' } };
    await api.does('image', 'PUT', `/v2/images/${image.id}/file`, { token: of.token, ...bytes });
    const asked = { token: of.token, version, body: { rebuild: { imageRef: image.id } } };
    const answer = await api.call('compute', 'POST', `/v2.1/servers/${id}/action`, asked);
    expect([answer.status, answer.json.badRequest?.message]).toEqual([
      400,
      'No valid host was found. That of the server fails hypervisor type (wanted xen, has fake).',
    ]);
    expect(await row()).toMatchObject({ vmState: 'active', taskState: null, image: { id: of.image } });
    expect(guest()).toEqual(before);
  });

  it('rebuild, rescue and unrescue, however long the host takes', async () => {
    const { machine } = api.cloud.hosts.find((h) => h.machine.guest(id))!;
    const late = async (operation: 'rebuild' | 'rescue' | 'unrescue', body: object) => {
      machine.slow(operation, seconds(700));
      await act(body);
      await api.cloud.until(id, (s) => s.taskState === null && s.fault !== null);
      const server = await api.cloud.until(id, (s) => s.fault === null);
      machine.slow(operation, seconds(0));
      return server;
    };
    expect(await late('rebuild', { rebuild: { imageRef: of.image } })).toMatchObject({
      ...{ vmState: 'active', build: guest().mark.build },
    });
    expect(await late('rescue', { rescue: null })).toMatchObject({ vmState: 'rescued' });
    expect(guest().stage).toBe('rescued');
    expect(await late('unrescue', { unrescue: null })).toMatchObject({ vmState: 'active' });
    expect(guest().stage).toBe('settled');
  });

  it('make an image, from which another server is made', async () => {
    const { image_id: image } = await act({ createImage: { name: 'snap', metadata: { a: 'b' } } });
    await settled();
    const shown = await api.does('image', 'GET', `/v2/images/${image}`, { token: of.token });
    expect(shown).toMatchObject({
      ...{ status: 'active', name: 'snap', disk_format: 'qcow2', a: 'b' },
      instance_uuid: id,
    });
    const server = { name: 'again', imageRef: image, flavorRef: of.flavor, networks: 'none' };
    const made = await api.does('compute', 'POST', '/v2.1/servers', { token: of.token, version, body: { server } });
    await api.cloud.until(made.server.id, (s) => s.vmState === 'active', 5);
    await api.does('compute', 'DELETE', `/v2.1/servers/${made.server.id}`, { token: of.token });
  });

  it('make no image of a server that is deleted meanwhile', async () => {
    const server = { name: 'short', imageRef: of.image, flavorRef: of.flavor, networks: 'none' };
    const made = await api.does('compute', 'POST', '/v2.1/servers', { token: of.token, version, body: { server } });
    const other = made.server.id;
    await api.cloud.until(other, (s) => s.vmState === 'active', 5);
    for (const { machine } of api.cloud.hosts) machine.slow('snapshot', seconds(600));
    const path = `/v2.1/servers/${other}`;
    const body = { createImage: { name: 'none' } };
    const { image_id: image } = await api.does('compute', 'POST', `${path}/action`, { token: of.token, version, body });
    await api.does('compute', 'DELETE', path, { token: of.token });
    await api.cloud.until(other, (s) => s.released && s.imagesToDrop?.length === 0, 5);
    for (const { machine } of api.cloud.hosts) machine.slow('snapshot', seconds(0));
    expect((await api.call('image', 'GET', `/v2/images/${image}`, { token: of.token })).status).toBe(404);
  });

  it('resize, revert, resize again and confirm, with claims and quota that fit', async () => {
    const { flavor } = await api.does('compute', 'POST', '/v2.1/flavors', {
      token: api.admin,
      body: { flavor: { name: 'larger', ram: 128, vcpus: 2, disk: 2 } },
    });
    const cores = async () =>
      (await api.does('compute', 'GET', '/v2.1/limits', { token: of.token })).limits.absolute.totalCoresUsed;
    const claims = await api.cloud.claims();
    const before = await cores();
    for (const [decision, size, held] of [
      ['revertResize', 1, before],
      ['confirmResize', 2, before + 1],
    ] as const) {
      await act({ resize: { flavorRef: flavor.id } });
      expect(await settled()).toMatchObject({ vmState: 'resized', fault: null });
      expect(guest()).toMatchObject({ stage: 'resized', power: 'running', vcpus: 2 });
      expect([await api.cloud.claims(), await cores()]).toEqual([claims + 1, before + 1]);
      await act({ [decision]: null });
      await api.cloud.until(id, (s) => s.taskState === null && s.quotaDue === false, 5);
      await api.cloud.clock.runUntil(async () => (await api.cloud.claims()) === claims, seconds(10));
      expect(guest()).toMatchObject({ stage: 'settled', power: 'running', vcpus: size });
      expect(await cores()).toBe(held);
    }
  });

  it('resize to what does not fit leaves everything as it was', async () => {
    const { flavor } = await api.does('compute', 'POST', '/v2.1/flavors', {
      token: api.admin,
      body: { flavor: { name: 'endless', ram: 128, vcpus: 2, disk: 100_000 } },
    });
    const claims = await api.cloud.claims();
    await act({ resize: { flavorRef: flavor.id } });
    await api.cloud.until(id, (s) => s.taskState === null && s.quotaDue === false, 5);
    expect(await row()).toMatchObject({ vmState: 'active', flavor: { name: 'larger' } });
    expect(await api.cloud.claims()).toBe(claims);
    const { instanceActions } = await call('GET', '/os-instance-actions');
    const messages = instanceActions.flatMap((a: Record<string, string>) => (a.action === 'resize' ? [a.message] : []));
    expect(messages.sort()).toEqual(['Error', null, null]);
  });

  it('leave nothing behind, and no complaint', async () => {
    expect(await row()).toMatchObject({ vmState: 'active' });
    await api.does('compute', 'DELETE', `/v2.1/servers/${id}`, { token: of.token });
    await api.cloud.until(id, (s) => s.released && s.onHost === null, 5);
    await api.cloud.clock.runUntil(async () => (await api.cloud.claims()) === 0, seconds(10));
    expect(api.complaints).toEqual([]);
    expect(api.cloud.errors).toEqual([]);
  });
});
