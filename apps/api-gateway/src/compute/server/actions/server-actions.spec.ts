import { inspectImage, judgeImage, seconds } from '@omnivisor/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type ComputeApp, computeApp, HOST, IMAGE, PINNED_IMAGE, VAST_IMAGE } from '../../compute-app.fixtures.js';

let app: ComputeApp;
beforeAll(async () => {
  app = await computeApp();
});
afterAll(() => app?.close());

const versions = ['2.1', '2.104'];
const many = (n: number) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`k${i}`, 'v']));
const create = async (version = '2.104', flavorRef = '1'): Promise<string> => {
  const networks = version === '2.1' ? {} : { networks: 'none' };
  const server = { name: 'web', flavorRef, imageRef: IMAGE, ...networks };
  const answer = await app.call('POST', '/v2.1/servers', { version, body: { server } });
  expect(answer.status, answer.text).toBe(202);
  const { id } = (answer.body as { server: { id: string } }).server;
  await app.activate(id);
  return id;
};
const act = (id: string, body: unknown, version = '2.104', as: 'member' | 'other' | 'reader' | 'admin' = 'member') =>
  app.call('POST', `/v2.1/servers/${id}/action`, { as, version, body });
const show = async (id: string, version = '2.104') =>
  ((await app.call('GET', `/v2.1/servers/${id}`, { version })).body as { server: Record<string, unknown> }).server;
const wrongState = (action: string, id: string, attribute: string, state: string) => ({
  status: 409,
  body: {
    conflictingRequest: {
      code: 409,
      message: `Cannot '${action}' instance ${id} while it is in ${attribute} ${state}`,
    },
  },
});
const actionsOf = async (id: string) => {
  const { body } = await app.call('GET', `/v2.1/servers/${id}/os-instance-actions`, { version: '2.84' });
  return (body as { instanceActions: { action: string; message: string | null }[] }).instanceActions;
};

describe.each(versions)('at %s', (version) => {
  it('a server is suspended and resumed', async () => {
    const id = await create(version);
    expect(await act(id, { suspend: null }, version, 'other')).toMatchObject({ status: 404 });
    expect(await act(id, { suspend: null }, version, 'reader')).toMatchObject({ status: 403 });
    expect(await act(id, { resume: null }, version)).toMatchObject(wrongState('resume', id, 'vm_state', 'active'));
    expect(await act(id, { suspend: null }, version)).toMatchObject({ status: 202, text: '' });
    expect(await show(id, version)).toMatchObject({ status: 'ACTIVE', 'OS-EXT-STS:task_state': 'suspending' });
    expect(await act(id, { suspend: null }, version)).toMatchObject(
      wrongState('suspend', id, 'task_state', 'suspending'),
    );
    const power = 'suspended' as const;
    await app.report(id, { kind: 'operationDone', generation: 1, operation: 'suspend', power, bootId: 'b' });
    expect(await show(id, version)).toMatchObject({
      status: 'SUSPENDED',
      'OS-EXT-STS:vm_state': 'suspended',
      'OS-EXT-STS:task_state': null,
      'OS-EXT-STS:power_state': 7,
    });
    expect((await act(id, { resume: null }, version)).status).toBe(202);
    await app.report(id, { kind: 'operationDone', generation: 2, operation: 'resume', power: 'running', bootId: 'b' });
    expect(await show(id, version)).toMatchObject({ status: 'ACTIVE', 'OS-EXT-STS:task_state': null });
    expect((await actionsOf(id)).map((a) => a.action).sort()).toEqual(['create', 'resume', 'suspend']);
  });
});

describe.each(versions)('at %s', (version) => {
  it('no server is restored, as none is deleted softly', async () => {
    const id = await create(version);
    expect((await act(id, { restore: null }, version, 'other')).status).toBe(404);
    expect(await act(id, { restore: null }, version)).toMatchObject(wrongState('restore', id, 'vm_state', 'active'));
  });
});

describe.each(versions)('rebuilding at %s', (version) => {
  const rebuild = (id: string, over: object = {}, as: 'member' | 'other' | 'reader' = 'member') =>
    act(id, { rebuild: { imageRef: IMAGE, ...over } }, version, as);

  it('gives a server new disks, and what was asked for with them', async () => {
    const id = await create(version);
    expect((await rebuild(id, {}, 'other')).status).toBe(404);
    expect((await rebuild(id, {}, 'reader')).status).toBe(403);
    const answer = await rebuild(id, { name: 'anew', metadata: { a: 'b' }, adminPass: 'secret' });
    expect(answer, answer.text).toMatchObject({
      status: 202,
      headers: { location: `http://cloud.example/compute/v2.1/servers/${id}` },
      body: {
        server: {
          id,
          status: 'REBUILD',
          name: 'anew',
          metadata: { a: 'b' },
          adminPass: 'secret',
          image: { id: IMAGE },
        },
      },
    });
    expect(await rebuild(id)).toMatchObject(wrongState('rebuild', id, 'task_state', 'rebuilding'));
    await app.report(id, { kind: 'operationDone', generation: 1, operation: 'rebuild', power: 'running', bootId: 'b' });
    expect(await show(id, version)).toMatchObject({ status: 'ACTIVE', name: 'anew', 'OS-EXT-STS:task_state': null });
  });

  it.each([
    [
      'an image that is not there',
      { imageRef: '5f3c7f0e-6f0c-4b32-9f0b-0d7a0c4f7a01' },
      400,
      'Cannot find image for rebuild',
    ],
    ['an image whose disk does not fit', { imageRef: VAST_IMAGE }, 400, 'disk is too small for requested image'],
    ['no image', { imageRef: 'x' }, 400, 'imageRef'],
    ['an image that wants other CPUs', { imageRef: PINNED_IMAGE }, 400, 'cannot be changed as part of a rebuild'],
    ['disks that cannot be kept', { preserve_ephemeral: true }, 400, 'does not support preserving ephemeral'],
    ['an unknown key', { colour: 'red' }, 400, 'Additional properties are not allowed'],
    ['more metadata than the quota', { metadata: many(129) }, 403, 'Maximum number of metadata items exceeds 128'],
  ])('is refused for %s', async (_, over, status, message) => {
    const id = await create(version);
    const answer = await rebuild(id, over);
    expect(answer.status, answer.text).toBe(status);
    expect(answer.text).toContain(message);
    expect((await actionsOf(id)).map((a) => a.action)).toEqual(['create']);
  });
});

describe('another image', () => {
  const other = 'c9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b77';
  const readiness = { qemu: { verdict: 'cannot', reason: 'Its kernel is paravirtual.' } } as const;
  const judged: { image: object; hostId: string }[] = [];
  let refusal: string | null = null;
  beforeAll(async () => {
    app.images.set(other, { uninspected: true });
    await app.core.bus.respond(inspectImage, async () => ({ readiness }));
    await app.core.bus.respond(judgeImage, async (asked) => {
      judged.push(asked);
      return { refusal };
    });
  });
  const rebuild = (id: string, imageRef: string) => act(id, { rebuild: { imageRef } });

  it('is not one to rebuild with, for what its host lacks for it', async () => {
    const id = await create();
    refusal = 'No valid host was found. That of the server fails hypervisor type (wanted xen, has QEMU).';
    expect(await rebuild(id, other)).toMatchObject({ status: 400, body: { badRequest: { message: refusal } } });
    expect(judged).toMatchObject([{ serverId: id, hostId: HOST, image: { id: other, readiness }, use: 'rebuild' }]);
    expect((await actionsOf(id)).map((a) => a.action)).toEqual(['create']);
    expect(await rebuild(id, IMAGE)).toMatchObject({ status: 202 });
    expect(judged).toHaveLength(1);
  });

  it('is not one to rescue with, either', async () => {
    const id = await create();
    judged.length = 0;
    refusal = 'No valid host was found. That of the server fails hypervisor type (wanted xen, has QEMU).';
    const rescue = (ref: string) => act(id, { rescue: { rescue_image_ref: ref } });
    expect(await rescue(other)).toMatchObject({ status: 400, body: { badRequest: { message: refusal } } });
    const asked = { hostId: HOST, image: { id: other, readiness }, flavor: { extraSpecs: {} }, use: 'rescue' };
    expect(judged).toMatchObject([{ serverId: id, ...asked }]);
    expect((await actionsOf(id)).map((a) => a.action)).toEqual(['create']);
    expect(await rescue(IMAGE)).toMatchObject({ status: 200 });
    expect(judged).toHaveLength(1);
  });

  it('is accepted where its host can serve it', async () => {
    const id = await create();
    refusal = null;
    expect(await rebuild(id, other)).toMatchObject({ status: 202, body: { server: { image: { id: other } } } });
  });
});

describe.each(versions)('rescuing at %s', (version) => {
  it('starts a server from an image, and from its own disk again', async () => {
    const id = await create(version);
    expect((await act(id, { rescue: null }, version, 'other')).status).toBe(404);
    expect((await act(id, { rescue: null }, version, 'reader')).status).toBe(403);
    expect(await act(id, { unrescue: null }, version)).toMatchObject(wrongState('unrescue', id, 'vm_state', 'active'));
    const unknown = '5f3c7f0e-6f0c-4b32-9f0b-0d7a0c4f7a01';
    expect(await act(id, { rescue: { rescue_image_ref: unknown } }, version)).toMatchObject({
      status: 400,
      body: { badRequest: { message: `Requested rescue image '${unknown}' is not supported` } },
    });
    const answer = await act(id, { rescue: { adminPass: 'secret', rescue_image_ref: IMAGE } }, version);
    expect(answer, answer.text).toMatchObject({ status: 200, body: { adminPass: 'secret' } });
    expect(await act(id, { rescue: null }, version)).toMatchObject(wrongState('rescue', id, 'task_state', 'rescuing'));
    const done = { kind: 'operationDone', power: 'running', bootId: 'b' } as const;
    await app.report(id, { ...done, generation: 1, operation: 'rescue' });
    expect(await show(id, version)).toMatchObject({ status: 'RESCUE', 'OS-EXT-STS:vm_state': 'rescued' });
    expect(await act(id, { unrescue: null }, version)).toMatchObject({ status: 202, text: '' });
    await app.report(id, { ...done, generation: 2, operation: 'unrescue' });
    expect(await show(id, version)).toMatchObject({ status: 'ACTIVE', 'OS-EXT-STS:task_state': null });
    expect((await actionsOf(id)).map((a) => a.action).sort()).toEqual(['create', 'rescue', 'unrescue']);
  });
});

describe.each(versions)('making an image of a server at %s', (version) => {
  const snap = (id: string, over: object = {}, as: 'member' | 'other' | 'reader' = 'member') =>
    act(id, { createImage: { name: 'snap', ...over } }, version, as);

  it('lets whoever asks name its type', async () => {
    const id = await create(version);
    expect((await snap(id, { metadata: { image_type: 'test' } })).status).toBe(202);
    expect(app.snapshots.at(-1)!.properties).toMatchObject({ image_type: 'test', instance_uuid: id });
  });

  it('names the image at once, and leaves the server as it is', async () => {
    const id = await create(version);
    expect((await snap(id, {}, 'other')).status).toBe(404);
    expect((await snap(id, {}, 'reader')).status).toBe(403);
    const answer = await snap(id, { metadata: { a: 'b' } });
    expect(answer.status, answer.text).toBe(202);
    const begun = app.snapshots.at(-1)!;
    expect(begun).toMatchObject({
      ...{ name: 'snap', owner: 'p1', format: 'qcow2', minDisk: 1 },
      properties: { a: 'b', os_type: 'linux', image_type: 'snapshot', instance_uuid: id, base_image_ref: IMAGE },
    });
    if (version === '2.1')
      expect(answer.headers.location).toBe(`http://cloud.example/compute/v2.1/images/${begun.imageId}`);
    else expect(answer.body).toEqual({ image_id: begun.imageId });
    expect(await show(id, version)).toMatchObject({ status: 'ACTIVE', 'OS-EXT-STS:task_state': 'image_uploading' });
    expect(await snap(id)).toMatchObject(wrongState('createImage', id, 'task_state', 'image_uploading'));
    const power = 'running' as const;
    await app.report(id, { kind: 'operationDone', generation: 1, operation: 'snapshot', power, bootId: 'b' });
    expect(await show(id, version)).toMatchObject({ status: 'ACTIVE', 'OS-EXT-STS:task_state': null });
    expect((await actionsOf(id)).map((a) => a.action).sort()).toEqual(['create', 'createImage']);
  });

  it.each([
    ['no name', { name: '' }, 400, 'name'],
    ['metadata that is an attribute', { metadata: { Owner: 'x' } }, 400, 'Owner is not a custom property'],
    ['more metadata than the quota', { metadata: many(129) }, 403, 'Image metadata limit exceeded'],
  ])('is refused for %s', async (_, over, status, message) => {
    const begun = app.snapshots.length;
    const answer = await snap(await create(version), over);
    expect(answer.status, answer.text).toBe(status);
    expect(answer.text).toContain(message);
    expect(app.snapshots).toHaveLength(begun);
  });
});

describe.each(versions)('resizing at %s', (version) => {
  const resize = (id: string, flavorRef: string, as: 'member' | 'other' | 'reader' = 'member') =>
    act(id, { resize: { flavorRef } }, version, as);
  const flavor = async (name: string, over: object = {}) => {
    const body = { flavor: { name, id: name, ram: 256, vcpus: 2, disk: 2, ...over } };
    const answer = await app.call('POST', '/v2.1/flavors', { as: 'admin', version, body });
    expect(answer.status, answer.text).toBe(200);
    return name;
  };
  const done = { kind: 'operationDone', power: 'running', bootId: 'b' } as const;

  it('gives a server another flavor, and asks whether it shall stay', async () => {
    const large = await flavor(`large-${version}`);
    const id = await create(version);
    expect((await resize(id, large, 'other')).status).toBe(404);
    expect((await resize(id, large, 'reader')).status).toBe(403);
    expect(await resize(id, large)).toMatchObject({ status: 202, text: '' });
    expect(await show(id, version)).toMatchObject({ status: 'RESIZE', 'OS-EXT-STS:task_state': 'resize_prep' });
    expect(await resize(id, large)).toMatchObject(wrongState('resize', id, 'task_state', 'resize_prep'));
    await app.place(id, 2);
    await app.report(id, { ...done, generation: 1, operation: 'resize' });
    expect(await show(id, version)).toMatchObject({ status: 'VERIFY_RESIZE', 'OS-EXT-STS:vm_state': 'resized' });
    expect((await act(id, { revertResize: null }, version)).status).toBe(202);
    expect(await show(id, version)).toMatchObject({ status: 'REVERT_RESIZE' });
    await app.report(id, { ...done, generation: 2, operation: 'revertResize' });
    expect(await show(id, version)).toMatchObject({ status: 'ACTIVE' });

    await resize(id, large);
    await app.place(id, 3);
    await app.report(id, { ...done, generation: 3, operation: 'resize' });
    expect(await act(id, { confirmResize: null }, version)).toMatchObject({ status: 204, text: '' });
    await app.report(id, { ...done, generation: 4, operation: 'confirmResize' });
    expect(await show(id, version)).toMatchObject({
      status: 'ACTIVE',
      flavor: version === '2.1' ? { id: large } : { vcpus: 2, original_name: large },
    });
    expect(await act(id, { revertResize: null }, version)).toMatchObject(
      wrongState('revertResize', id, 'vm_state', 'active'),
    );
    const back = await resize(id, '1');
    expect(back.status).toBe(400);
    expect(back.text).toContain('a disk cannot be made smaller');
  });

  it.each([
    ['the same flavor', async () => '1', 400, 'When resizing, instances must change flavor!'],
    ['a flavor that is not there', async () => '99', 400, 'Unable to locate requested flavor.'],
    [
      'more than the quota',
      () => flavor(`huge-${version}`, { vcpus: 500 }),
      403,
      'Quota exceeded for cores: Requested 499',
    ],
    [
      'a flavor that contradicts itself',
      async () => {
        const id = await flavor(`odd-${version}`);
        const body = { extra_specs: { 'hw:cpu_thread_policy': 'isolate' } };
        await app.call('POST', `/v2.1/flavors/${id}/os-extra_specs`, { as: 'admin', version, body });
        return id;
      },
      400,
      'in a non dedicated cpu pinning policy',
    ],
  ])('is refused for %s', async (_, of, status, message) => {
    const id = await create(version);
    const answer = await resize(id, await of());
    expect(answer.status, answer.text).toBe(status);
    expect(answer.text).toContain(message);
    expect((await actionsOf(id)).map((a) => a.action)).toEqual(['create']);
  });

  it('is refused for the quota before it is for a smaller disk', async () => {
    const id = await create(version, await flavor(`wide-${version}`));
    const answer = await resize(id, await flavor(`narrow-${version}`, { vcpus: 500, disk: 1 }));
    expect(answer.status, answer.text).toBe(403);
    expect(answer.text).toContain('Quota exceeded for cores: Requested 498');
  });
});

describe('rebuilding, by version', () => {
  it('takes key, user data and host name once there are such, and shows them', async () => {
    const id = await create();
    const key = await app.call('POST', '/v2.1/os-keypairs', {
      version: '2.92',
      body: {
        keypair: {
          name: 'k1',
          public_key: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPjGJGHAZdVaQAKkd6Y7FyOkUhqb3vfcg8KoOsAEkLc x',
        },
      },
    });
    expect(key.status, key.text).toBeLessThan(300);
    const answer = await act(id, {
      rebuild: { imageRef: IMAGE, key_name: 'k1', user_data: 'aGVsbG8=', hostname: 'other' },
    });
    expect(answer, answer.text).toMatchObject({
      status: 202,
      body: { server: { key_name: 'k1', user_data: 'aGVsbG8=', 'OS-EXT-SRV-ATTR:hostname': 'other' } },
    });
    for (const version of ['2.74', '2.75', '2.104']) {
      const { body } = await act(
        await create(),
        { rebuild: { imageRef: IMAGE, user_data: 'aGVsbG8=' } },
        version,
        'admin',
      );
      const { server } = body as { server: object };
      expect(server).toMatchObject({ user_data: 'aGVsbG8=' });
      expect(server).not.toHaveProperty('OS-EXT-SRV-ATTR:user_data');
      expect('OS-EXT-SRV-ATTR:host' in server).toBe(version !== '2.74');
    }
    const early = await act(await create(), { rebuild: { imageRef: IMAGE, key_name: 'k1' } }, '2.53');
    expect(early.status).toBe(400);
    const unknown = await act(await create(), { rebuild: { imageRef: IMAGE, key_name: 'none' } });
    expect(unknown).toMatchObject({ status: 400, body: { badRequest: { message: 'Invalid key_name provided.' } } });
  });
});

describe.each(versions)('the interfaces of a server at %s', (version) => {
  const path = (id: string) => `/v2.1/servers/${id}/os-interface`;
  const attach = (id: string, body: object, as: 'member' | 'other' | 'reader' = 'member') =>
    app.call('POST', path(id), { version, as, body: { interfaceAttachment: body } });
  const net = '33333333-3333-4333-8333-333333333333';
  const portId = '55555555-5555-4555-8555-555555555555';
  const state = async (id: string) => {
    const { body } = await app.call('GET', `${path(id)}/${portId}`, { version });
    return (body as { interfaceAttachment?: { port_state: string } }).interfaceAttachment?.port_state;
  };

  it('come and go', async () => {
    const id = await create(version);
    expect((await attach(id, { net_id: net }, 'other')).status).toBe(404);
    expect((await attach(id, { net_id: net }, 'reader')).status).toBe(403);
    const answer = attach(id, { net_id: net });
    await app.clock.runUntil(async () => (await state(id)) === 'DOWN');
    await app.report(id, { kind: 'interfaceDone', portId: portId as never, change: 'attach' });
    await app.clock.advance(seconds(1));
    const got = await answer;
    expect(got, got.text).toMatchObject({
      status: 200,
      body: { interfaceAttachment: { port_id: portId, net_id: net, port_state: 'ACTIVE' } },
    });
    expect(await state(id)).toBe('ACTIVE');
    const remove = (port: string) => app.call('DELETE', `${path(id)}/${port}`, { version });
    expect(await remove(net)).toMatchObject({ status: 404, body: { itemNotFound: { code: 404 } } });
    expect(await remove(portId)).toMatchObject({ status: 202, text: '' });
    await app.report(id, { kind: 'interfaceDone', portId: portId as never, change: 'detach' });
    expect(await state(id)).toBeUndefined();
    expect((await actionsOf(id)).map((a) => a.action).sort()).toEqual([
      'attach_interface',
      'create',
      'detach_interface',
    ]);
  });

  it('are told of as they are when the host takes long, and as failed when it cannot', async () => {
    const id = await create(version);
    const late = attach(id, { net_id: net });
    await app.clock.advance(seconds(40));
    expect(await late).toMatchObject({ status: 200, body: { interfaceAttachment: { port_state: 'DOWN' } } });
    const other = await create(version);
    const failing = attach(other, { net_id: net });
    await app.clock.runUntil(async () => (await state(other)) === 'DOWN');
    const failure = { portId: portId as never, change: 'attach', unsupported: false, reason: 'no slot' } as const;
    await app.report(other, { kind: 'interfaceFailed', ...failure });
    await app.clock.advance(seconds(1));
    expect(await failing).toMatchObject({
      status: 503,
      body: { serviceUnavailable: { message: `Failed to attach network adapter device to ${other}` } },
    });
  });

  it.each([
    ['a port and a network', { net_id: net, port_id: portId }, 400, 'Must not input both network_id and port_id'],
    [
      'an address of no network',
      { fixed_ips: [{ ip_address: '10.0.0.9' }] },
      400,
      'Must input network_id when request IP address',
    ],
    ['nothing where there is none', {}, 400, 'No specific network was requested and none are available'],
  ])('are refused for %s', async (_, body, status, message) => {
    const answer = await attach(await create(version), body);
    expect(answer.status).toBe(status);
    expect(answer.text).toContain(message);
  });

  it('do not change while the server does something else', async () => {
    const id = await create(version);
    await act(id, { 'os-stop': null }, version);
    expect(await attach(id, { net_id: net })).toMatchObject(
      wrongState('attach_interface', id, 'task_state', 'powering-off'),
    );
    const port = '22222222-2222-4222-8222-222222222222';
    expect(await app.call('DELETE', `${path(id)}/${port}`, { version })).toMatchObject(
      wrongState('detach_interface', id, 'task_state', 'powering-off'),
    );
  });
});

describe('what the host of a server cannot do', () => {
  it.each([
    ['pausing', { pause: null }],
    ['suspending', { suspend: null }],
    ['rebuilding', { rebuild: { imageRef: IMAGE } }],
    ['rescuing', { rescue: null }],
    ['snapshots', { createImage: { name: 'x' } }],
    ['resizing', { resize: { flavorRef: '2' } }],
    ['resizing', { confirmResize: null }],
    ['resizing', { revertResize: null }],
    ['rescuing', { unrescue: null }],
  ] as const)('(%s) is refused before anything is accepted', async (feature, body) => {
    const id = await create();
    await app.hostLacks(feature);
    try {
      expect(await act(id, body)).toMatchObject({
        status: 501,
        body: { notImplemented: { message: 'The requested functionality is not supported.' } },
      });
      expect((await actionsOf(id)).map((a) => a.action)).toEqual(['create']);
    } finally {
      await app.hostLacks();
    }
  });

  it('(nics) is refused before a port is made', async () => {
    const id = await create();
    await app.hostLacks('nics');
    try {
      const body = { interfaceAttachment: { net_id: '33333333-3333-4333-8333-333333333333' } };
      expect((await app.call('POST', `/v2.1/servers/${id}/os-interface`, { body })).status).toBe(501);
    } finally {
      await app.hostLacks();
    }
  });
});

describe('of a server whose host', () => {
  let id: string;
  beforeAll(async () => {
    const flavor = { id: '2', name: 'm1.small', vcpus: 1, ram: 256, disk: 1 };
    expect((await app.call('POST', '/v2.1/flavors', { as: 'admin', body: { flavor } })).status).toBe(200);
  });
  beforeEach(async () => {
    id = await create();
  });

  const moves = [
    { resize: { flavorRef: '2' } },
    { migrate: null },
    { 'os-migrateLive': { host: null, block_migration: 'auto' } },
  ];
  it('is down, a move is refused and everything else waits', async () => {
    await app.hostGoesDown();
    try {
      for (const body of moves)
        expect(await act(id, body, '2.104', 'admin'), JSON.stringify(body)).toMatchObject({
          status: 409,
          body: { conflictingRequest: { message: 'Service is unavailable at this time.' } },
        });
      expect((await act(id, { reboot: { type: 'SOFT' } })).status).toBe(202);
      expect((await act(id, { reboot: { type: 'HARD' } })).status).toBe(202);
      expect((await actionsOf(id)).map((a) => a.action).sort()).toEqual(['create', 'reboot', 'reboot']);
    } finally {
      await app.hostLacks();
    }
  });

  it('has left the cloud, only what the log does is accepted', async () => {
    await app.hostLeaves();
    const refused = {
      status: 409,
      body: { conflictingRequest: { message: `The host of instance ${id} has left the cloud` } },
    };
    for (const body of [
      ...moves,
      { 'os-stop': null },
      { 'os-start': null },
      { reboot: { type: 'HARD' } },
      { pause: null },
      { suspend: null },
      { rebuild: { imageRef: IMAGE } },
      { rescue: null },
      { createImage: { name: 'x' } },
      { confirmResize: null },
      { changePassword: { adminPass: 'x' } },
      { trigger_crash_dump: null },
      { 'os-getConsoleOutput': {} },
    ])
      expect(await act(id, body, '2.104', 'admin'), JSON.stringify(body)).toMatchObject(refused);
    const port = { interfaceAttachment: { net_id: '33333333-3333-4333-8333-333333333333' } };
    expect(await app.call('POST', `/v2.1/servers/${id}/os-interface`, { body: port })).toMatchObject(refused);
    expect((await actionsOf(id)).map((a) => a.action)).toEqual(['create']);
    for (const body of [{ lock: null }, { unlock: null }, { 'os-resetState': { state: 'error' } }])
      expect((await act(id, body, '2.104', 'admin')).status, JSON.stringify(body)).toBe(202);
    expect((await act(id, { evacuate: {} }, '2.104', 'admin')).status).toBe(501);
    expect((await app.call('DELETE', `/v2.1/servers/${id}`)).status).toBe(204);
  });
});
