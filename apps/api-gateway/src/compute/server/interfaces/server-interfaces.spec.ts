import type { HostFact, Instant, PortId, ServerEvent, ServerPort } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, expect, it } from 'vitest';
import { minutes } from '../../../core/gateway-core.fixtures.js';
import { history } from '../lifecycle/server.fixtures.js';
import { type ServerCommand, serverAggregate } from '../lifecycle/server-lifecycle.js';
import { activeServer } from '../lifecycle/server-process.fixtures.js';

const given = specificationOf(serverAggregate);
const { serverId, host, active, created } = history;
const portId = '22222222-2222-4222-8222-222222222222' as PortId;
const port = { portId, networkId: '3', networkName: 'n', mac: 'm', fixedIps: [], ours: true, tag: null };
const at = '2026-01-01T00:00:00.000Z' as Instant;
const onHost = { serverId, host, attempt: 1, portId };

const attach = {
  type: 'attachInterface',
  serverId,
  port: port as unknown as ServerPort,
  asAdmin: false,
  now: at,
} as const;
const detach = { type: 'detachInterface', serverId, portId, asAdmin: false, now: at } as const;
const expire: ServerCommand = { type: 'expireInterface', serverId, portId, since: at };
const report = (fact: HostFact, attempt = 1): ServerCommand => ({
  type: 'report',
  serverId,
  host,
  attempt,
  fact,
  now: at,
});
const done = (change: 'attach' | 'detach') => report({ kind: 'interfaceDone', portId, change });
const failed = (change: 'attach' | 'detach') =>
  report({ kind: 'interfaceFailed', portId, change, reason: 'no', unsupported: false });

const attachRequested: ServerEvent = {
  type: 'ServerInterfaceAttachRequested',
  data: { serverId, port: attach.port, at },
};
const attached: ServerEvent = { type: 'ServerInterfaceAttached', data: onHost };
const detachRequested: ServerEvent = { type: 'ServerInterfaceDetachRequested', data: { serverId, portId, at } };
const detached: ServerEvent = { type: 'ServerInterfaceDetached', data: onHost };
const attachFailed = (message: string): ServerEvent => ({
  type: 'ServerInterfaceAttachFailed',
  data: { serverId, portId, fault: { code: 500, message } },
});
const late = 'The interface was not changed in time: the host did not answer.';

describe('another interface', () => {
  it('is asked for once, of a server that is there', () => {
    given(...active)
      .when(attach)
      .then(attachRequested);
    given(...active, attachRequested)
      .when(attach)
      .thenNothing();
    given(created)
      .when(attach)
      .thenRefused('conflict', /^Cannot 'attach_interface' instance .* while it is in vm_state building$/);
  });
  it('is refused while the server does something else', () =>
    given(...active, { type: 'ServerStopRequested', data: { serverId, generation: 1 } })
      .when(attach)
      .thenRefused('conflict', /while it is in task_state powering-off$/));
  it('is there when the host says so, once, and of this attempt', () => {
    given(...active, attachRequested)
      .when(done('attach'))
      .then(attached);
    given(...active, attachRequested, attached)
      .when(done('attach'))
      .thenNothing();
    given(...active, attachRequested)
      .when(report({ kind: 'interfaceDone', portId, change: 'attach' }, 2))
      .thenNothing();
  });
  it('that could not be had is taken out again before its port is given back', () => {
    const past = [...active, attachRequested, attachFailed('no')];
    given(...active, attachRequested)
      .when(failed('attach'))
      .then(attachFailed('no'));
    given(...past)
      .when(failed('detach'))
      .thenNothing();
    given(...past)
      .when(done('detach'))
      .then(detached);
  });
  it('that its host refuses says why, in the words of the host', () => {
    const message = 'The hypervisor cannot do it: it has no card hw_vif_model=e1000.';
    given(...active, attachRequested)
      .when(report({ kind: 'interfaceFailed', portId, change: 'attach', reason: message, unsupported: true }))
      .then({ type: 'ServerInterfaceAttachFailed', data: { serverId, portId, fault: { code: 501, message } } });
  });
  it('fails at its deadline, and no later one of the same port does', () => {
    given(...active, attachRequested)
      .when(expire)
      .then(attachFailed(late));
    given(...active, attachRequested, attached)
      .when(expire)
      .thenNothing();
    given(...active, attachRequested)
      .when({ ...expire, since: '2025-12-31T00:00:00.000Z' } as ServerCommand)
      .thenNothing();
  });
});

describe('an interface that is given up', () => {
  const past = [...active, attachRequested, attached];
  it('is asked for once', () => {
    given(...past)
      .when(detach)
      .then(detachRequested);
    given(...past, detachRequested)
      .when(detach)
      .thenNothing();
  });
  it('must be one of the server, and not on its way', () => {
    given(...active)
      .when(detach)
      .thenRefused('notFound', /^Port id .* could not be found\.$/);
    given(...active, attachRequested)
      .when(detach)
      .thenRefused('conflict', /is still in use/);
  });
  it('stays when the guest does not let go', () =>
    given(...past, detachRequested)
      .when(failed('detach'))
      .then({
        type: 'ServerInterfaceDetachFailed',
        data: { serverId, portId, fault: { code: 500, message: 'no' } },
      }));
  it('is released once', () => {
    const release: ServerCommand = { type: 'confirmInterfaceReleased', serverId, portId };
    const released: ServerEvent = { type: 'ServerInterfaceReleased', data: { serverId, portId } };
    given(...past, detachRequested, detached)
      .when(release)
      .then(released);
    given(...past, detachRequested, detached, released)
      .when(release)
      .thenNothing();
  });
});

describe('the process of a server', () => {
  const cloud = async () => {
    const released: string[] = [];
    const server = await activeServer({ releasePort: async (_, id) => void released.push(id) });
    await server.send({ ...attach, now: server.world.clock.now() });
    const until = (holds: (r: Awaited<ReturnType<typeof server.row>>) => boolean) =>
      server.world.clock.runUntil(async () => holds(await server.row()), minutes(10));
    return { ...server, released, until };
  };

  it('gives back the port of an interface that the guest has let go of', async () => {
    const { core, send, released, until, row } = await cloud();
    await send(done('attach'));
    await send(detach);
    await send(done('detach'));
    await until((r) => r.releasing?.length === 0);
    expect(released).toEqual([portId]);
    expect(await row()).toMatchObject({ ports: [], interfaces: [], taskState: null });
    await core.stop();
  });

  it('waits no longer than the deadline for a host that is silent', async () => {
    const { core, until, row } = await cloud();
    await until((r) => r.interfaces?.[0]?.change === 'detach');
    expect(await row()).toMatchObject({ interfaces: [{ portId, since: null }], vmState: 'active' });
    await core.stop();
  });
});
