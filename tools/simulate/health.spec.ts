import { type ServerId, seconds } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Belongings, settle } from '../api/people.js';
import { ApiCloud } from './api-cloud.js';

describe('a hypervisor that dies', () => {
  let api: ApiCloud;
  let of: Belongings;
  beforeAll(async () => {
    api = await ApiCloud.start();
    of = await settle(api, 'own');
  }, 60_000);
  afterAll(() => api?.stop());

  const asAdmin = (path: string) => api.does('compute', 'GET', `/v2.1${path}`, { token: api.admin, version: '2.53' });
  const host = () => api.cloud.hosts.find(({ machine }) => machine.guest(of.server as ServerId))!;
  const seen = async () => (await asAdmin(`/os-hypervisors/${host().id}`)).hypervisor;
  const boot = async () => {
    const server = { name: 's', imageRef: of.image, flavorRef: of.flavor, networks: 'none' };
    const { server: made } = await api.does('compute', 'POST', '/v2.1/servers', {
      ...{ token: of.token, version: '2.53', body: { server } },
    });
    return api.cloud.until(made.id as ServerId, (s) => s.vmState === 'active' || s.vmState === 'error', 5);
  };

  it('is seen within 10 s, keeps its guests, gets no servers, and comes back by itself', async () => {
    const { clock, hosts } = api.cloud;
    expect(await seen()).toMatchObject({ state: 'up', status: 'enabled' });
    const { machine } = host();
    const before = machine.all();
    machine.unreachable = true;
    await clock.advance(seconds(10));
    expect(await seen()).toMatchObject({
      ...{ state: 'up', status: 'disabled' },
      service: { disabled_reason: 'AUTO: the hypervisor does not answer' },
    });
    const { services } = await asAdmin('/os-services');
    expect(services.filter((s: { status: string }) => s.status === 'disabled')).toMatchObject([
      { host: host().name, disabled_reason: 'AUTO: the hypervisor does not answer' },
    ]);
    for (let i = 0; i < 3; i++) expect((await boot()).placement?.host).not.toBe(host().id);
    expect(machine.all()).toEqual(before);
    expect(await api.cloud.server(of.server as ServerId)).toMatchObject({ vmState: 'active' });
    machine.unreachable = false;
    await clock.runUntil(async () => (await seen()).status === 'enabled', seconds(60));
    expect((await seen()).service.disabled_reason).toBeNull();
    for (const other of hosts) if (other !== host()) await api.cloud.admin('host-disable', { host: other.name });
    expect((await boot()).placement?.host).toBe(host().id);
  });

  it('is the reason of a refusal where no other host is left', async () => {
    host().machine.unreachable = true;
    await api.cloud.clock.advance(seconds(10));
    expect((await boot()).fault?.message).toContain('a healthy hypervisor');
  });
});
