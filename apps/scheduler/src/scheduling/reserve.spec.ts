import { at, type HostId, hostBus, type ServerId } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { facts, Simulation } from '../testing/simulation.js';

let sim: Simulation;
beforeEach(() => {
  sim = new Simulation();
});
afterEach(async () => {
  await sim.stop();
  expect(sim.errors).toEqual([]);
});

describe('reserving a place', () => {
  it('claims a host and says why', async () => {
    const s = await sim.scheduler();
    const small = await sim.host(s, 'small', { vcpus: 2 });
    await sim.host(s, 'large', { vcpus: 16 });
    const server = await sim.server();
    const reply = await s.reserve.reserve(sim.request(server, { vcpus: 2 }));
    expect(reply).toMatchObject({ kind: 'claimed', hostId: small, hostName: 'small', availabilityZone: 'nova' });
    const [claimed] = (await sim.store.readStream(`provider-${small}`)).slice(-1);
    expect(claimed).toMatchObject({
      type: 'AllocationClaimed',
      data: {
        resources: { VCPU: 2, MEMORY_MB: 1_024, DISK_GB: 1 },
        explanation: { hostsConsidered: 2, hostsFitting: 2, smallestChange: null, weigher: 'best fit' },
      },
    });
  });

  it('gives the same answer to the same attempt, whenever it comes', async () => {
    const s = await sim.scheduler();
    const host = await sim.host(s, 'a');
    const request = sim.request(await sim.server());
    const answers = await Promise.all([s.reserve.reserve(request), s.reserve.reserve(request)]);
    answers.push(await s.reserve.reserve(request));
    expect(new Set(answers.map((a) => JSON.stringify(a))).size).toBe(1);
    expect((await sim.typesOf(`provider-${host}`)).filter((t) => t === 'AllocationClaimed')).toHaveLength(1);
  });

  it('gives the last slot to exactly one of 64 at once, from two schedulers that both think they lead', async () => {
    const [one, two] = [await sim.scheduler(), await sim.scheduler(undefined, true)];
    const host = await sim.host(one, 'a', { vcpus: 1 });
    const servers: ServerId[] = [];
    for (let i = 0; i < 64; i++) servers.push(await sim.server());
    const replies = await Promise.all(
      servers.map((id, i) => (i % 2 ? one : two).reserve.reserve(sim.request(id, { memory: 1 }))),
    );
    expect(replies.filter((r) => r.kind === 'claimed')).toHaveLength(1);
    expect((await sim.typesOf(`provider-${host}`)).filter((t) => t === 'AllocationClaimed')).toHaveLength(1);
  });

  it('sends claims that wait for one provider to the log together', async () => {
    const s = await sim.scheduler();
    const host = await sim.host(s, 'a', { vcpus: 64 });
    let most = 0;
    const { appendEach } = sim.store;
    sim.store.appendEach = (stream, expected, commands) => {
      if (stream === `provider-${host}`) most = Math.max(most, commands.length);
      return appendEach.call(sim.store, stream, expected, commands);
    };
    const servers: ServerId[] = [];
    for (let i = 0; i < 32; i++) servers.push(await sim.server());
    const replies = await Promise.all(servers.map((id) => s.reserve.reserve(sim.request(id, { memory: 1 }))));
    expect(replies.every((r) => r.kind === 'claimed')).toBe(true);
    expect(most).toBeGreaterThan(8);
  });

  it('tells an owner the constraint, the numbers and the smallest change, and no host names', async () => {
    const s = await sim.scheduler();
    await sim.host(s, 'alpha-secret', { memoryMib: 2_048 });
    await sim.host(s, 'beta-secret', { memoryMib: 4_096 });
    const server = await sim.server();
    const reply = await s.reserve.reserve(sim.request(server, { memory: 9_000 }));
    expect(reply).toMatchObject({ kind: 'refused' });
    const { message } = reply as { message: string };
    expect(message).toBe(
      'No valid host was found. Of 2 hosts, 2 fail MEMORY_MB (wanted 9000, best 4096). It would fit with at most 4096 MEMORY_MB.',
    );
    expect(await sim.typesOf(`placement-${server}`)).toEqual(['PlacementRefused']);
  });

  it('says so when there is no host at all', async () => {
    const s = await sim.scheduler();
    const reply = await s.reserve.reserve(sim.request(await sim.server()));
    expect(reply).toMatchObject({ kind: 'refused', message: 'No valid host was found. There is no compute host.' });
  });

  it.each([
    ['a required trait', { image: { properties: { 'trait:CUSTOM_GOLD': 'required' } } }, 'gold'],
    ['a forbidden trait', { extraSpecs: { 'trait:CUSTOM_GOLD': 'forbidden' } }, 'plain'],
    ['an availability zone', { availabilityZone: 'az2' }, 'plain'],
    ['the host asked for', { requestedHost: 'gold.example' }, 'gold'],
    ['the hypervisor of the image', { image: { properties: { img_hv_type: 'xen' } } }, 'plain'],
    ['the version of the hypervisor', { image: { properties: { img_hv_requested_version: '>=8.1,<9' } } }, 'gold'],
    ['the capabilities of the flavor', { extraSpecs: { 'capabilities:hypervisor_type': 's== Xen' } }, 'plain'],
    ['the disk bus of the image', { image: { properties: { hw_disk_bus: 'virtio' } } }, 'gold'],
    ['the firmware of the image', { image: { properties: { hw_firmware_type: 'uefi' } } }, 'gold'],
    ['the secure boot of the flavor', { extraSpecs: { 'os:secure_boot': 'required' } }, 'gold'],
    ['the machine of its networks', { networkHosts: ['gold'] }, 'gold'],
  ])('obeys %s', async (_, change, chosen) => {
    const s = await sim.scheduler();
    const uefi = ['COMPUTE_FIRMWARE_UEFI', 'COMPUTE_SECURITY_UEFI_SECURE_BOOT'];
    const gold = await sim.host(
      s,
      'gold',
      {
        ...{ traits: ['CUSTOM_GOLD', 'COMPUTE_STORAGE_BUS_VIRTIO', ...uefi] },
        ...{ hypervisorType: 'QEMU', hypervisorVersion: 8_002_001 },
      },
      'az1',
    );
    await sim.host(
      s,
      'plain',
      { traits: ['COMPUTE_FIRMWARE_BIOS', 'COMPUTE_STORAGE_BUS_XEN'], hypervisorType: 'Xen' },
      'az2',
    );
    const request = sim.request(await sim.server());
    const { image, extraSpecs, networkHosts, ...rest } = change as {
      image?: object;
      extraSpecs?: Record<string, string>;
      networkHosts?: string[];
      availabilityZone?: string;
    };
    const reply = await s.reserve.reserve({
      ...request,
      ...rest,
      networkHosts: networkHosts ? [gold as HostId] : [],
      image: { ...request.image, ...image },
      flavor: { ...request.flavor, extraSpecs: extraSpecs ?? {} },
    });
    expect(reply).toMatchObject({ kind: 'claimed', hostName: chosen });
  });

  it('obeys different_host and same_host, and avoids hosts that failed it before', async () => {
    const s = await sim.scheduler();
    const [a, b] = [await sim.host(s, 'a'), await sim.host(s, 'b')];
    const first = await sim.server();
    const placed = await s.reserve.reserve(sim.request(first));
    const at = (placed as { hostId: string }).hostId;
    const ask = async (change: object) => s.reserve.reserve(sim.request(await sim.server(), change));
    expect(await ask({ hints: { same_host: [first] } })).toMatchObject({ hostId: at });
    expect(await ask({ hints: { different_host: first } })).toMatchObject({ hostId: at === a ? b : a });
    expect(await ask({ excludeHosts: [a] })).toMatchObject({ hostId: b });
    expect(await ask({ excludeHosts: [a, b] })).toMatchObject({ kind: 'refused' });
  });

  it('uses no host that is disabled, and one again that was enabled', async () => {
    const s = await sim.scheduler();
    const hostId = await sim.host(s, 'a');
    const { hostAggregate } = await import('./host/host-lifecycle.js');
    const send = (type: 'enable' | 'disable') =>
      s.core.commands.execute(hostAggregate, hostId, { type, hostId, reason: null } as never, sim.context());
    await send('disable');
    const reply = await s.reserve.reserve(sim.request(await sim.server()));
    expect(reply).toMatchObject({ kind: 'refused' });
    expect((reply as { message: string }).message).toContain('It would fit once a host is enabled again.');
    await send('enable');
    expect(await s.reserve.reserve(sim.request(await sim.server()))).toMatchObject({ kind: 'claimed' });
  });

  it('leaves a host alone that has less than it gave away, and goes on with it when it has more again', async () => {
    const s = await sim.scheduler();
    const hostId = await sim.host(s, 'a', { vcpus: 4 });
    const servers = [await sim.server(), await sim.server()];
    for (const server of servers)
      expect(await s.reserve.reserve(sim.request(server, { vcpus: 2 }))).toMatchObject({ kind: 'claimed' });
    const has = (change: object) =>
      sim.bus.request(
        hostBus.probed,
        { session: 1, probes: [], facts: facts('a', { vcpus: 4, ...change }) },
        at(hostBus.probed, hostId),
      );
    for (const change of [{ vcpus: 2 }, { vcpus: 0, memoryMib: 0, diskGib: 0 }]) {
      await has(change);
      expect(await s.reserve.reserve(sim.request(await sim.server()))).toMatchObject({ kind: 'refused' });
      expect(await s.reserve.reserve(sim.request(servers[0]!, { vcpus: 2 }))).toMatchObject({ kind: 'claimed' });
    }
    expect(s.core.world.providers.get(hostId)?.claims.size).toBe(2);
    await has({ vcpus: 5 });
    expect(await s.reserve.reserve(sim.request(await sim.server()))).toMatchObject({ kind: 'claimed', hostId });
  });

  it("follows Nova's multipliers when they are set", async () => {
    const { plainSettings } = await import('../testing/simulation.js');
    const s = await sim.scheduler({ ...plainSettings, ramWeightMultiplier: 1 });
    await sim.host(s, 'small', { memoryMib: 2_048 });
    await sim.host(s, 'large', { memoryMib: 65_536 });
    expect(await s.reserve.reserve(sim.request(await sim.server()))).toMatchObject({ hostName: 'large' });
  });
});

describe('a server group', () => {
  const groupId = '44444444-4444-4444-8444-444444444444';
  const place = async (policy: string, n: number, maxServerPerHost: number | null = null) => {
    const s = await sim.scheduler();
    for (const name of ['a', 'b']) await sim.host(s, name);
    const members: ServerId[] = [];
    for (let i = 0; i < n; i++) members.push(await sim.server());
    const events = [
      {
        type: 'ServerGroupCreated',
        data: { projectId: 'p', groupId, userId: 'u', name: 'g', policy, maxServerPerHost },
      },
      ...members.map((serverId) => ({ type: 'ServerGroupMemberAdded', data: { projectId: 'p', groupId, serverId } })),
    ];
    const context = sim.context();
    await sim.store.append(
      'servergroup-p',
      -1,
      events.map((e) => ({ ...e, schemaVersion: 1, context })),
    );
    const replies = await Promise.all(
      members.map((id) => s.reserve.reserve(sim.request(id, { hints: { group: groupId } }))),
    );
    return replies.map((r) => (r.kind === 'claimed' ? r.hostName : r.message));
  };
  it('keeps its members together, also when they come at once', async () => {
    expect(new Set(await place('affinity', 3)).size).toBe(1);
  });
  it('keeps its members apart, also when they come at once', async () => {
    const [one, two, three] = await place('anti-affinity', 3);
    expect([one, two].sort()).toEqual(['a', 'b']);
    expect(three).toContain('2 fail server group anti-affinity (wanted fewer than 1 members, best 1)');
  });
  it('lets as many share a host as it says', async () => {
    expect((await place('anti-affinity', 4, 2)).sort()).toEqual(['a', 'a', 'b', 'b']);
  });
  it('prefers, when it is soft', async () => {
    expect((await place('soft-anti-affinity', 4)).sort()).toEqual(['a', 'a', 'b', 'b']);
  });
});

describe('releasing a claim', () => {
  const claimed = async () => {
    const s = await sim.scheduler();
    const host = await sim.host(s, 'a');
    const server = await sim.server();
    await s.reserve.reserve(sim.request(server));
    return { s, host, server };
  };
  const releases = async (host: string) =>
    (await sim.store.readStream(`provider-${host}`))
      .filter((e) => e.type === 'AllocationReleased')
      .map((e) => (e.data as { reason: string }).reason);

  it('follows the confirmation of its host', async () => {
    const { host, server } = await claimed();
    await sim.serverEvent(server, 'ServerGuestAbsent', { host, attempt: 1 });
    await sim.settle();
    expect(await releases(host)).toEqual(['absent']);
  });

  it('does not follow the word of another host, or of another attempt', async () => {
    const { host, server } = await claimed();
    await sim.serverEvent(server, 'ServerGuestAbsent', { host: sim.ids.uuid(), attempt: 1 });
    await sim.serverEvent(server, 'ServerGuestAbsent', { host, attempt: 2 });
    await sim.settle();
    expect(await releases(host)).toEqual([]);
  });

  it('follows an abandoned attempt, which then cannot claim again', async () => {
    const { s, host, server } = await claimed();
    await sim.serverEvent(server, 'ServerAttemptAbandoned', { attempt: 1, reason: 'late' });
    await sim.settle();
    expect(await releases(host)).toEqual(['abandoned']);
    await expect(s.reserve.reserve(sim.request(server))).rejects.toMatchObject({ kind: 'conflict' });
  });

  it('waits, however old the claim, while nobody said that it ended', async () => {
    const { host } = await claimed();
    await sim.clock.advance(3_600_000 as never);
    expect(await releases(host)).toEqual([]);
  });

  it('goes on after a restart with what the log says is due', async () => {
    const { s, host, server } = await claimed();
    await s.stop();
    await sim.serverEvent(server, 'ServerGuestAbsent', { host, attempt: 1 });
    await sim.scheduler();
    expect(await releases(host)).toEqual(['absent']);
  });

  it('follows a fenced host', async () => {
    const { s, host } = await claimed();
    await sim.clock.advance(60_000 as never);
    expect(s.core.world.hosts.get(host)?.up).toBe(false);
    const { hostAggregate } = await import('./host/host-lifecycle.js');
    await s.core.commands.execute(hostAggregate, host, { type: 'fence', hostId: host, reason: 'burnt' }, sim.context());
    await sim.settle();
    expect(await releases(host)).toEqual(['fenced']);
  });

  it('ends a second claim of one attempt once the server is scheduled elsewhere', async () => {
    const one = await sim.scheduler();
    const two = await sim.scheduler(undefined, true);
    const [a, b] = [await sim.host(one, 'a', { vcpus: 1 }), await sim.host(one, 'b', { vcpus: 1 })];
    const server = await sim.server();
    await one.reserve.reserve(sim.request(server));
    await two.core.providers.execute(
      {
        type: 'claim',
        providerId: b as never,
        claim: { serverId: server, attempt: 1, projectId: 'p' as never, userId: 'u' as never, resources: { VCPU: 1 } },
        explanation: {} as never,
      },
      sim.context(),
    );
    await sim.serverEvent(server, 'ServerScheduled', { host: a, attempt: 1, providerId: a });
    await sim.settle();
    expect(await releases(b)).toEqual(['abandoned']);
    expect(await releases(a)).toEqual([]);
  });
});
