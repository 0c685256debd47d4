import { type ServerId, seconds } from '@omnivisor/contracts';
import { CommandHandler } from '@omnivisor/eventsourcing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { InsideFakeGuest } from '../../apps/compute-agent/src/drivers/fake/inside.js';
import { type Belongings, settle } from '../api/people.js';
import { ApiCloud } from './api-cloud.js';

describe('a server that moves, from the API to its hosts', () => {
  let api: ApiCloud;
  let of: Belongings;
  let id: ServerId;
  beforeAll(async () => {
    api = await ApiCloud.start();
    of = await settle(api, 'own');
    id = of.server as ServerId;
    api.cloud.errors.length = 0;
  }, 60_000);
  afterAll(() => api?.stop());

  const version = '2.96';
  const call = (method: string, path: string, body?: object, token = api.admin) =>
    api.does('compute', method, `/v2.1${path}`, { token, version, body });
  const act = (body: object) => call('POST', `/servers/${id}/action`, body);
  const shown = async () => (await call('GET', `/servers/${id}`)).server;
  const row = () => api.cloud.server(id);
  const settled = () => api.cloud.until(id, (s) => s.taskState === null && !s.held && !s.transfersToDrop?.length, 5);
  const hostOf = (name: string) => api.cloud.hosts.find((h) => h.name === name)!;
  const elsewhere = (name: string) => api.cloud.hosts.find((h) => h.name !== name)!.name;
  const guestOn = (name: string) => hostOf(name).machine.guest(id);
  const isGone = (name: string) => api.cloud.clock.runUntil(() => guestOn(name) === undefined, seconds(60));
  const claimsAre = (n: number) => api.cloud.clock.runUntil(async () => (await api.cloud.claims()) === n, seconds(60));
  const newest = async () => (await call('GET', '/os-migrations')).migrations[0];
  const write = (name: string, letter: string) => new InsideFakeGuest(hostOf(name).machine).write(id, 0, letter);
  const read = (name: string) => new InsideFakeGuest(hostOf(name).machine).read(id, 0);

  it('is migrated with its disk and its ports, and stays when it is confirmed', async () => {
    const from = (await row()).host!;
    const to = elsewhere(from);
    write(from, 'M');
    await act({ migrate: null });
    expect(await settled()).toMatchObject({ vmState: 'resized', host: to, fault: null });
    expect((await shown()).status).toBe('VERIFY_RESIZE');
    expect([guestOn(from)?.power, guestOn(to)?.power, read(to)]).toEqual(['shutdown', 'running', 'M']);
    expect(await api.cloud.claims()).toBe(2);
    const { ports } = await api.does('network', 'GET', `/v2.0/ports?device_id=${id}`, { token: api.admin });
    expect(ports.map((p: Record<string, unknown>) => p['binding:host_id'])).toEqual(ports.map(() => to));
    expect(await newest()).toMatchObject({
      ...{ status: 'finished', migration_type: 'migration', source_compute: from, dest_compute: to },
      instance_uuid: id,
    });
    const { uuid } = await newest();
    const taken = async (consumer: string) => {
      const asked = { token: api.admin, version: '1.39' };
      const { allocations, consumer_type: type } = await api.does(
        'placement',
        'GET',
        `/allocations/${consumer}`,
        asked,
      );
      return [Object.keys(allocations), type];
    };
    expect(await taken(id)).toEqual([[hostOf(to).id], 'INSTANCE']);
    expect(await taken(uuid)).toEqual([[hostOf(from).id], 'MIGRATION']);
    await act({ confirmResize: null });
    expect((await shown()).status).toBe('ACTIVE');
    await isGone(from);
    await api.cloud.clock.runUntil(async () => (await taken(uuid))[0].length === 0, seconds(60));
    await claimsAre(1);
    expect([(await newest()).status, read(to)]).toEqual(['confirmed', 'M']);
  });

  it('goes back to its source when it is reverted, and what was written since is lost', async () => {
    const from = (await row()).host!;
    const to = elsewhere(from);
    write(from, 'B');
    await act({ migrate: { host: to } });
    await settled();
    write(to, 'C');
    hostOf(to).machine.slow('destroy', seconds(5));
    await act({ revertResize: null });
    expect((await shown()).status).toBe('REVERT_RESIZE');
    hostOf(to).machine.slow('destroy', seconds(0));
    expect(await settled()).toMatchObject({ vmState: 'active', host: from, fault: null, remains: [] });
    expect([guestOn(to), guestOn(from)?.power, read(from)]).toEqual([undefined, 'running', 'B']);
    await claimsAre(1);
    expect((await newest()).status).toBe('reverted');
  });

  it('that was off moves and stays off', async () => {
    await act({ 'os-stop': null });
    const { host } = await settled();
    await act({ migrate: null });
    expect(await settled()).toMatchObject({ vmState: 'resized', power: 'shutdown' });
    await act({ confirmResize: null });
    expect(await settled()).toMatchObject({ vmState: 'stopped', power: 'shutdown' });
    await isGone(host!);
    await act({ 'os-start': null });
    await settled();
  });

  it('goes on where it was when the target cannot make it', async () => {
    const { host } = await row();
    const to = elsewhere(host!);
    hostOf(to).machine.failNext('spawn');
    await act({ migrate: null });
    expect(await settled()).toMatchObject({ vmState: 'active', host, fault: null });
    expect([guestOn(to), guestOn(host!)?.power, (await newest()).status]).toEqual([undefined, 'running', 'error']);
    await claimsAre(1);
    const { instanceActions } = await call('GET', `/servers/${id}/os-instance-actions`);
    const messages = instanceActions.flatMap((a: Record<string, string>) =>
      a.action === 'migrate' ? [a.message] : [],
    );
    expect(messages).toContain('Error');
  });

  it('goes on where it was when its disk cannot be sent', async () => {
    const { host } = await row();
    hostOf(host!).machine.failNext('snapshot');
    await act({ migrate: null });
    expect(await settled()).toMatchObject({ vmState: 'active', host });
    expect(guestOn(host!)?.power).toBe('running');
    await claimsAre(1);
  });

  it('is resized to another host where its own has no room', async () => {
    const { host } = await row();
    const to = elsewhere(host!);
    const { flavor } = await call('POST', '/flavors', { flavor: { name: 'wide', ram: 40_000, vcpus: 2, disk: 1 } });
    const filler = { name: 'filler', imageRef: of.image, flavorRef: flavor.id, networks: 'none' };
    const { server } = await api.does('compute', 'POST', '/v2.1/servers', {
      ...{ token: api.admin, version },
      body: { server: { ...filler, host, imageRef: of.image } },
    });
    await api.cloud.until(server.id, (s) => s.vmState === 'active', 5);
    await act({ resize: { flavorRef: flavor.id } });
    expect(await settled()).toMatchObject({ vmState: 'resized', host: to, flavor: { name: 'wide' } });
    expect(guestOn(to)).toMatchObject({ vcpus: 2, power: 'running' });
    expect(await newest()).toMatchObject({ status: 'finished', migration_type: 'resize' });
    await act({ revertResize: null });
    expect(await settled()).toMatchObject({ vmState: 'active', host });
    await call('DELETE', `/servers/${server.id}`);
    await api.cloud.until(server.id, (s) => s.onHost === null, 5);
  });

  it('holds the quota of the one resize that came to be, of two at once', async () => {
    const flavor = async (vcpus: number) =>
      (await call('POST', '/flavors', { flavor: { name: `${vcpus} CPUs`, ram: 128, vcpus, disk: 1 } })).flavor.id;
    const wanted = [await flavor(6), await flavor(2)];
    const cores = async () => (await call('GET', `/os-quota-sets/${of.projectId}/detail`)).quota_set.cores.in_use;
    const before = await cores();
    // Both have asked for all else before either is written to the log.
    const { execute } = CommandHandler.prototype;
    const waiting: (() => void)[] = [];
    const spy = vi.spyOn(CommandHandler.prototype, 'execute').mockImplementation(async function (
      this: CommandHandler,
      ...args: Parameters<typeof execute>
    ) {
      if ((args[2] as { type: string }).type === 'resize') {
        const both = new Promise<void>((resolve) => waiting.push(resolve));
        if (waiting.length === 2) for (const go of waiting) go();
        await both;
      }
      return execute.apply(this, args);
    });
    const asked = wanted.map((flavorRef) =>
      api.call('compute', 'POST', `/v2.1/servers/${id}/action`, {
        ...{ token: api.admin, version },
        body: { resize: { flavorRef } },
      }),
    );
    expect((await Promise.all(asked)).map(({ status }) => status).sort()).toEqual([202, 409]);
    spy.mockRestore();
    const { flavor: got } = await settled();
    expect([await cores(), got.vcpus]).toEqual([before + got.vcpus - 1, expect.toBeOneOf([2, 6])]);
    await act({ revertResize: null });
    await settled();
    await api.cloud.until(id, (s) => s.quotaDue === false, 5);
    expect(await cores()).toBe(before);
  });

  it('moves while it runs, and remembers', async () => {
    const from = (await row()).host!;
    const to = elsewhere(from);
    new InsideFakeGuest(hostOf(from).machine).remember(id, 'L');
    hostOf(from).machine.slow('migrate', seconds(5));
    await act({ 'os-migrateLive': { host: null, block_migration: 'auto' } });
    await api.cloud.until(id, (s) => s.migration?.status === 'running', 5);
    expect((await shown()).status).toBe('MIGRATING');
    const [one] = (await call('GET', `/servers/${id}/migrations`)).migrations;
    expect(one).toMatchObject({ status: 'running', source_compute: from, dest_compute: to });
    expect(await settled()).toMatchObject({ vmState: 'active', host: to, fault: null });
    hostOf(from).machine.slow('migrate', seconds(0));
    expect(guestOn(to)).toMatchObject({ power: 'running', stage: 'settled', memory: 'L' });
    await isGone(from);
    await claimsAre(1);
    expect((await newest()).status).toBe('completed');
    expect((await call('GET', `/servers/${id}/migrations`)).migrations).toEqual([]);
  });

  it('stays where it is when its target cannot take what it is offered', async () => {
    const from = (await row()).host!;
    hostOf(elsewhere(from)).machine.failNext('migrate');
    await act({ 'os-migrateLive': { host: null, block_migration: 'auto' } });
    expect(await settled()).toMatchObject({ vmState: 'active', power: 'running', host: from });
    await isGone(elsewhere(from));
    await claimsAre(1);
    expect([guestOn(from)?.power, (await newest()).status]).toEqual(['running', 'error']);
    expect((await row()).fault?.message).toMatch(/^The target cannot take the guest: .+\.$/);
  });

  it('that switches itself off as soon as it is there is off there', async () => {
    const from = (await row()).host!;
    const to = elsewhere(from);
    write(from, 'O');
    hostOf(to).machine.slow('migrate', seconds(5));
    await act({ 'os-migrateLive': { host: null, block_migration: 'auto' } });
    await api.cloud.clock.runUntil(() => guestOn(to)?.power === 'running', seconds(60));
    hostOf(to).machine.shutDownFromInside(id);
    expect(await settled()).toMatchObject({ vmState: 'stopped', power: 'shutdown', host: to, fault: null });
    hostOf(to).machine.slow('migrate', seconds(0));
    await isGone(from);
    expect([(await newest()).status, read(to)]).toEqual(['completed', 'O']);
    await act({ 'os-start': null });
    expect(await settled()).toMatchObject({ vmState: 'active', host: to });
  });

  it('that would never come to its end is forced to it', async () => {
    const from = (await row()).host!;
    const to = elsewhere(from);
    hostOf(to).machine.slow('migrate', seconds(5));
    await act({ 'os-migrateLive': { host: null, block_migration: 'auto' } });
    await api.cloud.until(id, (s) => s.migration?.status === 'running', 5);
    await api.cloud.clock.advance(seconds(2));
    hostOf(from).machine.slow('migrate', seconds(3_600));
    await api.cloud.clock.advance(seconds(60));
    expect((await row()).migration?.status).toBe('running');
    const { id: number } = await newest();
    const path = `/servers/${id}/migrations/${number}/action`;
    await call('POST', path, { force_complete: null });
    expect(await settled()).toMatchObject({ vmState: 'active', power: 'running', host: to, fault: null });
    for (const name of [from, to]) hostOf(name).machine.slow('migrate', seconds(0));
    await isGone(from);
    expect((await newest()).status).toBe('completed');
    const asked = { token: api.admin, version, body: { force_complete: null } };
    const again = await api.call('compute', 'POST', `/v2.1${path}`, asked);
    expect(again.status).toBe(400);
    const { instanceActions } = await call('GET', `/servers/${id}/os-instance-actions`);
    expect(instanceActions.map((a: Record<string, string>) => a.action)).toContain('live_migration_force_complete');
  });

  it('stays where it is when its live migration is aborted', async () => {
    const from = (await row()).host!;
    hostOf(from).machine.slow('migrate', seconds(60));
    await act({ 'os-migrateLive': { host: null, block_migration: 'auto' } });
    await api.cloud.until(id, (s) => s.migration?.status === 'running', 5);
    const { id: number } = await newest();
    await call('DELETE', `/servers/${id}/migrations/${number}`);
    hostOf(from).machine.slow('migrate', seconds(0));
    expect(await settled()).toMatchObject({ vmState: 'active', host: from });
    await isGone(elsewhere(from));
    await claimsAre(1);
    expect([guestOn(from)?.power, (await newest()).status]).toEqual(['running', 'cancelled']);
  });

  it('gets an interrupt that makes its kernel write a crash dump', async () => {
    await act({ trigger_crash_dump: null });
    const { host } = await row();
    expect(guestOn(host!)?.memory).toBe('N');
    const { instanceActions } = await call('GET', `/servers/${id}/os-instance-actions`);
    const dump = instanceActions.find((a: Record<string, string>) => a.action === 'trigger_crash_dump');
    expect(dump.message).toBeNull();
  });

  it('refuses what cannot be', async () => {
    const { host } = await row();
    const asked = (body: object, token = api.admin) =>
      api.call('compute', 'POST', `/v2.1/servers/${id}/action`, { token, version, body });
    expect((await asked({ migrate: { host } })).status).toBe(400);
    expect((await asked({ migrate: { host: 'nowhere' } })).status).toBe(400);
    expect((await asked({ migrate: null }, of.token)).status).toBe(403);
    const gone = await api.call('compute', 'DELETE', `/v2.1/servers/${id}/migrations/1`, { token: api.admin, version });
    expect(gone.status).toBe(404);
  });

  const away = async (name: string) => {
    await api.cloud.passing(hostOf(name).agent.stop());
    const isDown = async () => {
      const hosts = (await api.cloud.admin('host-list', {})) as { name: string; state: string }[];
      return hosts.find((h) => h.name === name)!.state === 'down';
    };
    await api.cloud.clock.runUntil(isDown, seconds(120));
    await api.cloud.admin('host-retire', { host: name });
  };

  it('comes back although its target has left the cloud for good', async () => {
    const from = (await row()).host!;
    const { name: to } = await api.cloud.addHost('compute-3');
    await act({ migrate: { host: to } });
    expect(await settled()).toMatchObject({ vmState: 'resized', host: to });
    await api.cloud.passing(hostOf(to).agent.stop());
    await act({ revertResize: null });
    await away(to);
    expect(await settled()).toMatchObject({ vmState: 'active', host: from, fault: null, remains: [] });
    expect((await newest()).status).toBe('reverted');
    await claimsAre(1);
  });

  it('stays where it is when its source has left the cloud for good', async () => {
    const back = (await row()).host!;
    const { name: from } = await api.cloud.addHost('compute-4');
    await act({ migrate: { host: from } });
    await settled();
    await act({ confirmResize: null });
    await isGone(back);
    await act({ migrate: { host: back } });
    await settled();
    await away(from);
    expect(await settled()).toMatchObject({ vmState: 'active', host: back, remains: [] });
    expect((await newest()).status).toBe('confirmed');
    await claimsAre(1);
  });

  it('leaves nothing behind when it is deleted in the middle, and no complaint', async () => {
    const from = (await row()).host!;
    await act({ migrate: null });
    await settled();
    await call('DELETE', `/servers/${id}`);
    await api.cloud.until(id, (s) => s.released && s.onHost === null && s.remains?.length === 0, 5);
    expect([guestOn(from), guestOn(elsewhere(from))]).toEqual([undefined, undefined]);
    await claimsAre(0);
    expect(api.complaints).toEqual([]);
  });
});
