import type { DomainEvent, RecordedEvent } from '@omnivisor/contracts';
import { beforeEach, describe, expect, it } from 'vitest';
import { history } from '../compute/server/lifecycle/server.fixtures.js';
import { memoryWorld, userContext } from '../core/gateway-core.fixtures.js';
import { notificationsOf } from './notifications.js';

const { serverId, host } = history;

let world: ReturnType<typeof memoryWorld>;
beforeEach(() => {
  world = memoryWorld();
});

const append = async (stream: string, ...events: DomainEvent[]): Promise<RecordedEvent[]> => {
  const { length } = await world.store.readStream(stream);
  const context = userContext();
  const recorded = await world.store.append(
    stream,
    length - 1,
    events.map((event) => ({ ...event, schemaVersion: 1, context })),
  );
  return [...recorded.events];
};
interface Body {
  readonly event_type: string;
  readonly priority: string;
  readonly publisher_id: string;
  readonly message_id: string;
  readonly timestamp: string;
  readonly payload: { readonly 'nova_object.name': string; readonly 'nova_object.data': Record<string, never> };
}
const told = async (events: readonly RecordedEvent[]): Promise<Body[]> =>
  (await Promise.all(events.map((event) => notificationsOf(world.store, event)))).flat().map((m) => m.body as Body);
const names = async (events: readonly RecordedEvent[]) => (await told(events)).map((b) => b.event_type);
const at = { host, attempt: 1, generation: 1, bootId: 'b1' };
const of = (type: string, data: object = {}): DomainEvent => ({ type, data: { serverId, ...data } });

describe('versioned notifications', () => {
  it("tell a server's life in Nova's names and order", async () => {
    const life = await append(
      `server-${serverId}`,
      ...history.active,
      of('ServerStopRequested', { generation: 1 }),
      of('ServerStopped', { ...at, power: 'shutdown' }),
      of('ServerStartRequested', { generation: 2 }),
      of('ServerStarted', { ...at, generation: 2, power: 'running' }),
      of('ServerRebootRequested', { generation: 3, kind: 'hard' }),
      of('ServerActionFailed', { action: 'reboot', fault: { code: 500, message: 'no' }, power: 'running' }),
      of('ServerPauseRequested', { generation: 4 }),
      of('ServerPaused', { ...at, generation: 4, power: 'paused' }),
      of('ServerLocked', { reason: 'mine', by: 'owner' }),
      of('ServerRenamed', { name: 'db' }),
      of('ServerDeleteRequested'),
      of('ServerDeleted', { at: '2026-01-01T00:00:00.000Z', hostConfirmed: true }),
      of('ServerResourcesReleased'),
    );
    expect(await names(life)).toEqual([
      'instance.update',
      'instance.update',
      'instance.create.start',
      'instance.create.end',
      'instance.power_off.start',
      'instance.power_off.end',
      'instance.power_on.start',
      'instance.power_on.end',
      'instance.reboot.start',
      'instance.reboot.error',
      'instance.pause.start',
      'instance.pause.end',
      'instance.lock',
      'instance.update',
      'instance.delete.start',
      'instance.delete.end',
    ]);
  });

  it('tell of other disks, a rescue and interfaces', async () => {
    const image = { ...history.request.image, id: 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b02' };
    const life = await append(
      `server-${serverId}`,
      ...history.active,
      of('ServerSuspendRequested', { generation: 1 }),
      of('ServerSuspended', { ...at, power: 'suspended' }),
      of('ServerResumeRequested', { generation: 2 }),
      of('ServerResumed', { ...at, generation: 2, power: 'running' }),
      of('ServerRescueRequested', { generation: 3, image }),
      of('ServerRescued', { ...at, generation: 3, power: 'running' }),
      of('ServerUnrescueRequested', { generation: 4 }),
      of('ServerUnrescued', { ...at, generation: 4, power: 'running' }),
      of('ServerRebuildRequested', { generation: 5, image, powerOn: true }),
      of('ServerActionFailed', { action: 'rebuild', fault: { code: 500, message: 'no' }, power: 'running' }),
    );
    const messages = (await told(life)).slice(4);
    expect(messages.map((m) => m.event_type)).toEqual([
      'instance.suspend.start',
      'instance.suspend.end',
      'instance.resume.start',
      'instance.resume.end',
      'instance.rescue.start',
      'instance.rescue.end',
      'instance.unrescue.start',
      'instance.unrescue.end',
      'instance.rebuild.start',
      'instance.rebuild.error',
    ]);
    for (const rescue of messages.slice(4, 6))
      expect(rescue.payload).toMatchObject({
        'nova_object.name': 'InstanceActionRescuePayload',
        'nova_object.data': { rescue_image_ref: image.id },
      });
    expect(messages.at(-1)!.payload).toMatchObject({
      'nova_object.name': 'InstanceActionRebuildPayload',
      'nova_object.data': { fault: { 'nova_object.data': { exception_message: 'no' } } },
    });
  });

  it("have Nova's shape", async () => {
    const [, , , spawned] = await append(`server-${serverId}`, ...history.active);
    const [message] = await notificationsOf(world.store, spawned!);
    expect(message!.subject).toBe('versioned_notifications.info');
    expect(message!.body).toMatchObject({
      event_type: 'instance.create.end',
      priority: 'INFO',
      publisher_id: 'nova-compute:compute-1',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$/),
      payload: {
        'nova_object.name': 'InstanceCreatePayload',
        'nova_object.namespace': 'nova',
        'nova_object.version': '1.13',
        'nova_object.data': {
          uuid: serverId,
          tenant_id: 'p1',
          user_id: 'u1',
          display_name: 'web',
          host: 'compute-1',
          node: 'compute-1',
          state: 'active',
          power_state: 'running',
          task_state: null,
          deleted_at: null,
          fault: null,
          action_initiator_user: 'u1',
          flavor: { 'nova_object.name': 'FlavorPayload', 'nova_object.data': { name: 'm1.tiny', memory_mb: 128 } },
        },
      },
    });
    expect(await notificationsOf(world.store, spawned!)).toEqual([message]);
  });

  it('tell what was before, and what went wrong', async () => {
    const [, renamed] = await append(`server-${serverId}`, history.created, of('ServerRenamed', { name: 'db' }));
    expect((await told([renamed!]))[0]!.payload['nova_object.data']).toMatchObject({
      old_display_name: 'web',
      display_name: 'db',
      state_update: { 'nova_object.data': { old_state: 'building', state: 'building' } },
    });
    const fault = { code: 500, message: 'No valid host was found.' };
    const [failed] = await told(await append(`server-${serverId}`, of('ServerBuildFailed', { fault })));
    expect(failed).toMatchObject({
      event_type: 'instance.create.error',
      priority: 'ERROR',
      payload: {
        'nova_object.data': {
          fault: { 'nova_object.name': 'ExceptionPayload', 'nova_object.data': { exception_message: fault.message } },
        },
      },
    });
  });

  it('tell of flavors, keypairs, groups and hosts', async () => {
    const flavor = { flavorId: 'f', name: 'f', vcpus: 1, memory: 1, disk: 0, ephemeral: 0, swap: 0, rxtxFactor: 1 };
    const flavors = await append(
      'flavor-catalog',
      { type: 'FlavorCreated', data: { ...flavor, isPublic: true, description: null } },
      { type: 'FlavorExtraSpecsSet', data: { flavorId: 'f', extraSpecs: { a: 'b' } } },
      { type: 'FlavorDeleted', data: { flavorId: 'f' } },
    );
    expect(await names(flavors)).toEqual(['flavor.create', 'flavor.update', 'flavor.delete']);
    expect((await told(flavors))[2]!.payload['nova_object.data']).toMatchObject({ extra_specs: { a: 'b' } });
    const key = {
      userId: 'u1',
      name: 'k',
      type: 'ssh',
      publicKey: 'ssh-ed25519 AAAA',
      fingerprint: 'aa',
      generated: false,
    };
    const keypairs = await append(
      'keypair-u1',
      { type: 'KeypairAdded', data: key },
      { type: 'KeypairDeleted', data: { userId: 'u1', name: 'k' } },
    );
    expect(await names(keypairs)).toEqual([
      'keypair.import.start',
      'keypair.import.end',
      'keypair.delete.start',
      'keypair.delete.end',
    ]);
    expect(new Set((await told(keypairs)).map((b) => b.message_id)).size).toBe(4);
    const group = { projectId: 'p1', groupId: '11111111-1111-4111-8111-111111111111' };
    const made = { ...group, userId: 'u1', name: 'g', policy: 'anti-affinity', maxServerPerHost: null };
    const groups = await append(
      'servergroup-p1',
      { type: 'ServerGroupCreated', data: made },
      { type: 'ServerGroupMemberAdded', data: { ...group, serverId } },
      { type: 'ServerGroupDeleted', data: group },
    );
    expect(await names(groups)).toEqual(['server_group.create', 'server_group.add_member', 'server_group.delete']);
    const enrolled = { hostId: host, name: 'alpha', availabilityZone: 'nova', publicKey: 'U', providerId: host };
    const hosts = await append(
      `host-${host}`,
      { type: 'HostEnrolled', data: enrolled },
      { type: 'HostDisabled', data: { hostId: host, reason: 'disk' } },
      { type: 'HostRetired', data: { hostId: host } },
    );
    expect(await names(hosts)).toEqual(['service.create', 'service.update', 'service.delete']);
    expect((await told(hosts))[1]!.payload['nova_object.data']).toMatchObject({
      host: 'alpha',
      disabled_reason: 'disk',
    });
  });

  it('are silent about what Nova does not know', async () => {
    expect(await names(await append('sealing-keys', { type: 'SealingKeyAdded', data: {} }))).toEqual([]);
  });
});
