import {
  DomainError,
  type FlavorId,
  type ImageSnapshot,
  invalid,
  type MigrationId,
  type ReserveReply,
  type ServerPort,
  seconds,
  unavailable,
} from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { memoryCore, memoryWorld, minutes, userContext } from '../../../core/gateway-core.fixtures.js';
import { serverProjection, serverTable } from '../view/server.projection.js';
import { history } from './server.fixtures.js';
import { ServerProcess } from './server.process.js';
import { type ServerCommand, serverAggregate } from './server-lifecycle.js';
import type { ServerProcessPorts } from './server-process-ports.js';

const { serverId, host } = history;
const claimed: ReserveReply = { kind: 'claimed', ...placed() };

function placed() {
  const { host: hostId, hostName, node, providerId, availabilityZone } = history.schedule(1);
  return { hostId, hostName, node, providerId, availabilityZone };
}

/** A cloud whose parts can be told to fail. */
const cloud = (fail: Partial<Record<keyof ServerProcessPorts, number>> = {}, shared = memoryWorld(), patience = 1) => {
  const { core, world } = memoryCore([serverProjection], shared);
  const calls: string[] = [];
  const failing = { ...fail };
  const step = (name: keyof ServerProcessPorts) => {
    calls.push(name);
    const left = failing[name] ?? 0;
    if (left <= 0) return;
    failing[name] = left - 1;
    throw unavailable(`${name} is away`);
  };
  const reserved: ImageSnapshot[] = [];
  const ports: ServerProcessPorts = {
    network: async () => ({ networkHosts: [] }),
    readiness: async () => {
      step('readiness');
      return { qemu: { verdict: 'cannot', reason: 'Its kernel is paravirtual.' } };
    },
    reserve: async (request) => {
      step('reserve');
      reserved.push(request.image);
      return claimed;
    },
    plug: async () => {
      step('plug');
      return [] as ServerPort[];
    },
    takeQuota: async () => step('takeQuota'),
    settleQuota: async () => step('settleQuota'),
    dropImage: async () => step('dropImage'),
    dropTransfer: async () => step('dropTransfer'),
    sends: async () => undefined,
    strays: async () => [],
    sent: async () => ({ size: history.request.image.size, sha512: history.request.image.sha512 }),
    releasePort: async () => step('releasePort'),
    release: async () => step('release'),
  };
  core.run(new ServerProcess(core, ports, patience));
  const send = (command: ServerCommand, id?: string) =>
    core.commands.execute(serverAggregate, serverId, command, userContext(id));
  const row = async () => (await core.fresh()).get(serverTable, serverId);
  const until = (state: (r: Awaited<ReturnType<typeof row>>) => boolean) =>
    world.clock.runUntil(async () => state(await row()), minutes(30));
  return { core, world, calls, reserved, ports, send, row, until };
};

const spawn: ServerCommand = {
  type: 'report',
  serverId,
  host,
  attempt: 1,
  fact: { kind: 'spawned', power: 'running', bootId: 'b1' },
  now: '2026-01-01T00:00:00.000Z' as never,
};

describe('building a server', () => {
  it('goes from the request to its host, and to ACTIVE when the host reports', async () => {
    const c = cloud();
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.taskState === 'spawning');
    await c.send(spawn);
    expect(await c.row()).toMatchObject({ vmState: 'active', taskState: null, onHost: host, host: 'compute-1' });
    expect(c.calls).toEqual(['reserve', 'plug']);
  });

  it('waits for a look at an image that had just come, and goes where its guest starts', async () => {
    const c = cloud();
    await c.core.start();
    const image = { ...history.request.image, uninspected: true as const };
    await c.send({ type: 'create', request: { ...history.request, image } });
    await c.until((r) => r?.taskState === 'spawning');
    expect(c.calls).toEqual(['readiness', 'reserve', 'plug']);
    const readiness = { qemu: { verdict: 'cannot', reason: 'Its kernel is paravirtual.' } };
    expect(c.reserved).toEqual([{ ...history.request.image, readiness }]);
    const reason = 'no';
    await c.send({ ...spawn, fact: { kind: 'spawnFailed', reason } } as ServerCommand);
    await c.until((r) => r?.taskState === 'spawning' && r.attempt === 2);
    expect(c.calls.filter((name) => name === 'readiness')).toHaveLength(1);
    expect(c.reserved[1]).toEqual({ ...history.request.image, readiness });
  });

  it.each([
    ['nobody who looks at images answers', {}, ['readiness', 'reserve', 'plug']],
    ['a kernel beside the disk is what starts', { kernel: history.request.image }, ['reserve', 'plug']],
  ])('does not wait for a look where %s', async (_, over, calls) => {
    const c = cloud({ readiness: 1 });
    await c.core.start();
    const image = { ...history.request.image, ...over };
    await c.send({ type: 'create', request: { ...history.request, image: { ...image, uninspected: true } } });
    await c.until((r) => r?.taskState === 'spawning');
    expect(c.calls).toEqual(calls);
    expect(c.reserved).toEqual([image]);
  });

  it.each(['reserve', 'plug'] as const)('goes on after %s failed for a while', async (name) => {
    const c = cloud({ [name]: 3 });
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.taskState === 'spawning');
    expect(c.calls.filter((n) => n === name)).toHaveLength(4);
  });

  it('goes on in another replica when the one that took the request dies', async () => {
    const { core, world } = memoryCore([serverProjection]);
    await core.commands.execute(serverAggregate, serverId, { type: 'create', request: history.request }, userContext());
    const c = cloud({}, world);
    await c.core.start();
    await c.until((r) => r?.taskState === 'spawning');
    expect(c.calls).toEqual(['reserve', 'plug']);
  });

  it('asks for no work twice when it goes well', async () => {
    const c = cloud();
    const leases: number[] = [];
    const { lease } = c.world.readModel;
    c.world.readModel.lease = async (...given) => {
      const due = await lease.apply(c.world.readModel, given);
      leases.push(due.length);
      return due;
    };
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.taskState === 'spawning');
    await c.world.clock.advance(seconds(10));
    expect(leases.every((n) => n === 0)).toBe(true);
  });

  it('ends in ERROR with the reason when the request cannot be met', async () => {
    const c = cloud();
    c.ports.plug = async () => {
      throw invalid('Network gone could not be found.');
    };
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.vmState === 'error');
    expect(await c.row()).toMatchObject({
      fault: { code: 500, message: 'Network gone could not be found.' },
      // The scheduler gives the place up.
      attempt: 1,
      placement: null,
    });
  });

  it('ends in ERROR with the explanation when no host fits', async () => {
    const c = cloud();
    c.ports.reserve = async () => ({
      kind: 'refused',
      message: 'No valid host was found. 3 hosts have no memory.',
      explanation: {} as never,
    });
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.vmState === 'error');
    expect((await c.row())?.fault?.message).toMatch(/^No valid host was found\./);
    // Another scheduler, or another copy of the question, may have found a place.
    expect(await c.row()).toMatchObject({ attempt: 1 });
  });

  it('ends in ERROR with what a host said when no other one fits', async () => {
    const c = cloud();
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.taskState === 'spawning');
    c.ports.reserve = async ({ excludeHosts }) => {
      expect(excludeHosts).toEqual([host]);
      return { kind: 'refused', message: 'No valid host was found.', explanation: {} as never };
    };
    const reason = 'The hypervisor cannot do it: this host cannot serve hw_watchdog_action=reset.';
    await c.send({ ...spawn, fact: { kind: 'spawnFailed', reason } });
    await c.until((r) => r?.vmState === 'error');
    expect((await c.row())?.fault?.message).toBe(`No valid host was found. ${reason}`);
  });

  it('ends in ERROR at the deadline when the scheduler never answers', async () => {
    const c = cloud({ reserve: Number.POSITIVE_INFINITY });
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.vmState === 'error');
    expect(await c.row()).toMatchObject({ attempt: 1, taskState: null });
  });

  it('ends in ERROR at the deadline with an agent that never answers', async () => {
    const c = cloud();
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.vmState === 'error');
    expect(await c.row()).toMatchObject({ taskState: null, onHost: host });
  });

  it('says that an attempt is abandoned when the server was deleted under a claim', async () => {
    const c = cloud();
    c.ports.reserve = async () => {
      await c.send({ type: 'delete', serverId, asAdmin: false, now: c.world.clock.now() });
      return claimed;
    };
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.released === true);
    const types = (await c.core.store.readStream(`server-${serverId}`)).map((e) => e.type);
    expect(types).toContain('ServerAttemptAbandoned');
    expect(types).not.toContain('ServerScheduled');
  });

  it('takes away what it made for a server that was deleted meanwhile, also after the release', async () => {
    const c = cloud();
    c.ports.plug = async () => {
      c.calls.push('plug');
      await c.send({ type: 'delete', serverId, asAdmin: false, now: c.world.clock.now() });
      return [];
    };
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.released === true);
    expect(c.calls).toEqual(['reserve', 'plug', 'release', 'release']);
  });
});

describe('moving a server', () => {
  const migrationId = '7a0cbb50-4f0f-4d0c-9f0e-1d7a0c4f7a11' as MigrationId;
  const asked = { migrationId, requestedHost: null, asAdmin: true };
  const flavor = { ...history.request.flavor, id: '2' as FlavorId, vcpus: 2 };

  it('drops what was to be sent and settles its quota at once when the move fails', async () => {
    const c = cloud();
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.taskState === 'spawning');
    await c.send(spawn);
    const { host: hostId, ...there } = history.schedule(2, history.otherHost);
    c.ports.sends = async () => ({ backend: 'fake', traits: [], format: 'qcow2' });
    c.ports.reserve = async () => ({ kind: 'claimed', hostId, ...there });
    await c.send({ type: 'migrate', serverId, ...asked });
    await c.until((r) => r?.taskState === 'resize_migrating');
    c.calls.length = 0;
    const fact = { kind: 'operationFailed', generation: 1, operation: 'migrate', reason: 'no' } as const;
    await c.send({ ...spawn, fact: { ...fact, unsupported: false, power: 'running' } });
    await c.world.clock.runUntil(async () => (await c.row())?.quotaDue === false, seconds(1));
    expect(c.calls).toEqual(['dropTransfer', 'settleQuota']);
    expect((await c.row())?.transfersToDrop).toEqual([]);
  });

  it('asks for no place when the other flavor is more than the quota has left', async () => {
    const c = cloud();
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.taskState === 'spawning');
    await c.send(spawn);
    c.calls.length = 0;
    c.ports.takeQuota = async () => {
      throw new DomainError('overQuota', 'Quota exceeded for cores');
    };
    await c.send({ type: 'resize', serverId, flavor, migrationId, asAdmin: false });
    await c.until((r) => r?.taskState === null && r.quotaDue === false);
    expect(c.calls).toEqual(['settleQuota']);
    expect(await c.row()).toMatchObject({ vmState: 'active', flavor: history.request.flavor });
  });

  it.each([
    ['a resize that its host has no room for', 'resize', null, 'required'],
    ['a migration that may go anywhere', 'migrate', null, 'required'],
    ['a migration to a host that the operator has named', 'migrate', 'hv-1', undefined],
  ] as const)('by %s has a target of the same hypervisor, unless it is named', async (_, type, requestedHost, wish) => {
    const c = cloud();
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.taskState === 'spawning');
    await c.send(spawn);
    c.ports.sends = async () => ({ backend: 'fake', traits: ['CUSTOM_HYPERVISOR_FAKE'], format: 'qcow2' });
    const wishes: (string | undefined)[] = [];
    c.ports.reserve = async ({ flavor, excludeHosts }) => {
      if (excludeHosts.length > 0) wishes.push(flavor.extraSpecs['trait:CUSTOM_HYPERVISOR_FAKE']);
      return { kind: 'refused', message: 'No valid host was found.', explanation: {} as never };
    };
    if (type === 'resize') await c.send({ type, serverId, flavor, migrationId, asAdmin: false });
    else await c.send({ type, serverId, ...asked, requestedHost });
    await c.until((r) => r?.taskState === null);
    expect(wishes).toEqual([wish]);
  });

  it('goes to no host that has a guest of it in quarantine', async () => {
    const c = cloud();
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.taskState === 'spawning');
    await c.send(spawn);
    c.ports.sends = async () => ({ backend: 'fake', traits: [], format: 'qcow2' });
    c.ports.strays = async () => [history.otherHost];
    const excluded: (readonly string[])[] = [];
    c.ports.reserve = async ({ excludeHosts }) => {
      excluded.push(excludeHosts);
      return { kind: 'refused', message: 'No valid host was found.', explanation: {} as never };
    };
    await c.send({ type: 'liveMigrate', serverId, ...asked, disks: 'copied' });
    await c.until((r) => r?.taskState === null);
    expect(excluded).toEqual([[host, history.otherHost]]);
  });
});

describe('deleting a server', () => {
  const active = async (fail?: Parameters<typeof cloud>[0]) => {
    const c = cloud(fail);
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.taskState === 'spawning');
    await c.send(spawn);
    return c;
  };

  it('gives ports and quota back once, also when that fails at first', async () => {
    const c = await active({ release: 2 });
    await c.send({ type: 'delete', serverId, asAdmin: false, now: c.world.clock.now() });
    await c.send({ ...spawn, fact: { kind: 'absent' } } as ServerCommand);
    await c.until((r) => r?.released === true);
    expect(await c.row()).toMatchObject({ vmState: 'deleted', onHost: null, hostId: host });
  });

  it('ends at the deadline while the host is silent; the tombstone stays on it', async () => {
    const c = await active();
    await c.send({ type: 'delete', serverId, asAdmin: false, now: c.world.clock.now() });
    await c.until((r) => r?.vmState === 'deleted' && r.released);
    expect((await c.row())?.onHost).toBe(host);
  });
});

describe('deadlines for all task states with an agent that never answers', () => {
  it.each(['stop', 'softReboot', 'hardReboot', 'pause'] as const)(
    '%s ends, and its task is cleared',
    async (operation) => {
      const c = cloud();
      await c.core.start();
      await c.send({ type: 'create', request: history.request });
      await c.until((r) => r?.taskState === 'spawning');
      await c.send(spawn);
      await c.send({ type: 'power', serverId, operation, asAdmin: false });
      expect((await c.row())?.taskState).not.toBeNull();
      await c.until((r) => r?.taskState === null);
      expect(await c.row()).toMatchObject({ vmState: 'active', power: 'running' });
    },
  );

  it('come later where hosts are slow', async () => {
    const c = cloud({}, memoryWorld(), 3);
    await c.core.start();
    await c.send({ type: 'create', request: history.request });
    await c.until((r) => r?.taskState === 'spawning');
    await c.send(spawn);
    await c.send({ type: 'power', serverId, operation: 'hardReboot', asAdmin: false });
    await c.world.clock.advance(seconds(890));
    expect((await c.row())?.taskState).toBe('rebooting_hard');
    await c.world.clock.advance(seconds(60));
    expect(await c.row()).toMatchObject({ vmState: 'active', power: 'running', taskState: null });
  });
});
