import { type HostFact, type ImageId, type Instant, type ServerEvent, unavailable } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, expect, it } from 'vitest';
import { minutes } from '../../../core/gateway-core.fixtures.js';
import { history } from '../lifecycle/server.fixtures.js';
import { evolve } from '../lifecycle/server-evolve.js';
import { type ServerCommand, serverAggregate } from '../lifecycle/server-lifecycle.js';
import { activeServer } from '../lifecycle/server-process.fixtures.js';
import { noServer } from '../state/server.js';

const given = specificationOf(serverAggregate);
const { serverId, host, active } = history;
const imageId = 'c9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b02' as ImageId;
const snapshot = { imageId, name: 's', owner: 'p1', format: 'qcow2', maxBytes: 10 } as never;
const onHost = { serverId, host, attempt: 1 };
const now = '2026-01-01T00:00:00.000Z' as Instant;
const ask: ServerCommand = { type: 'snapshot', serverId, snapshot };
const report = (fact: HostFact): ServerCommand => ({ type: 'report', ...onHost, fact, now });
const requested: ServerEvent = { type: 'ServerSnapshotRequested', data: { serverId, generation: 1, snapshot } };
const taken: ServerEvent = {
  type: 'ServerSnapshotTaken',
  data: { ...onHost, generation: 1, power: 'running', bootId: 'b1' },
};
const failed: ServerEvent = {
  type: 'ServerActionFailed',
  data: { serverId, action: 'createImage', fault: { code: 500, message: 'no' }, power: 'running' },
};
const dropped: ServerEvent = { type: 'ServerSnapshotDropped', data: { serverId, imageId } };
const state = (...past: ServerEvent[]) => past.reduce(evolve, noServer);

describe('an image of a server', () => {
  it('is asked for of one that is there, locked or not, one at a time', () => {
    given(...active)
      .when(ask)
      .then(requested);
    given(...active, { type: 'ServerLocked', data: { serverId, reason: null, by: 'owner' } })
      .when(ask)
      .then(requested);
    given(...active, requested)
      .when(ask)
      .thenRefused('conflict', /^Cannot 'createImage' instance .* while it is in task_state image_uploading$/);
    given(...active, { type: 'ServerGuestMissing', data: onHost })
      .when(ask)
      .thenRefused('conflict', /while it is in vm_state error$/);
  });
  it('leaves the server as it was', () => {
    given(...active, requested)
      .when(report({ kind: 'operationDone', generation: 1, operation: 'snapshot', power: 'running', bootId: 'b1' }))
      .then(taken);
    expect(state(...active, requested)).toMatchObject({ vmState: 'active', wantedPower: 'running' });
    expect(state(...active, requested, taken)).toMatchObject({ vmState: 'active', taskState: null, fault: null });
    expect(state(...active, requested, taken).imagesToDrop).toBeUndefined();
  });
  it('that its host refuses says why, in the words of the host', () => {
    const message = 'The hypervisor cannot do it: os_require_quiesce=yes, and the guest has no agent.';
    given(...active, requested)
      .when(
        report({
          ...{ kind: 'operationFailed', generation: 1, operation: 'snapshot', power: 'running' },
          ...{ reason: message, unsupported: true },
        }),
      )
      .then({
        type: 'ServerActionFailed',
        data: { serverId, action: 'createImage', fault: { code: 501, message }, power: 'running' },
      });
  });
  it('is dropped when its bytes will not come', () => {
    const requestedAway: ServerEvent = { type: 'ServerDeleteRequested', data: { serverId } };
    for (const end of [failed, requestedAway, { type: 'ServerGuestMissing', data: onHost } as ServerEvent])
      expect(state(...active, requested, end).imagesToDrop).toEqual([imageId]);
    const drop: ServerCommand = { type: 'confirmSnapshotDropped', serverId, imageId };
    given(...active, requested, failed)
      .when(drop)
      .then(dropped);
    given(...active, requested, failed, dropped)
      .when(drop)
      .thenNothing();
  });
});

describe('the process of a server', () => {
  it.each([
    ['as soon as it has failed', failed],
    ['when the server goes', { type: 'delete' }],
    ['at the deadline', { type: 'wait' }],
  ])('drops the image of a snapshot that failed, however often that fails: %s', async (_, end) => {
    const tries: string[] = [];
    const { core, world, send, row } = await activeServer({
      dropImage: async (id) => {
        tries.push(id);
        if (tries.length < 3) throw unavailable('no image service');
      },
    });
    await send(ask);
    if (end.type === 'delete') await send({ type: 'delete', serverId, asAdmin: false, now });
    else if (end.type !== 'wait')
      await send(
        report({
          kind: 'operationFailed',
          generation: 1,
          operation: 'snapshot',
          reason: 'no',
          unsupported: false,
          power: 'running',
        }),
      );
    await world.clock.runUntil(async () => (await row()).imagesToDrop?.length === 0, minutes(70));
    expect(tries).toEqual([imageId, imageId, imageId]);
    await core.stop();
  });
});
