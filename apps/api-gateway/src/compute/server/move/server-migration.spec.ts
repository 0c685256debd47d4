import type { HostFact, ImageId, ImageSnapshot, Instant, MigrationId, ServerEvent } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, expect, it } from 'vitest';
import { history } from '../lifecycle/server.fixtures.js';
import { evolve } from '../lifecycle/server-evolve.js';
import { type ServerCommand, serverAggregate } from '../lifecycle/server-lifecycle.js';
import { noServer } from '../state/server.js';
import { canReturn, isGivenUp, isSent } from '../state/server-moving.js';

const given = specificationOf(serverAggregate);
const { serverId, host, otherHost, active, request } = history;
const now = '2026-01-01T00:00:00.000Z' as Instant;
const migrationId = '7a0cbb50-4f0f-4d0c-9f0e-1d7a0c4f7a11' as MigrationId;
const transferId = '7a0cbb50-4f0f-4d0c-9f0e-1d7a0c4f7a12' as ImageId;
const settled = { power: 'running', bootId: 'b1' } as const;
const off = { power: 'shutdown', bootId: 'b1' } as const;
const here = { serverId, host, attempt: 1 };
const there = { serverId, host: otherHost, attempt: 2 };
const asked = { serverId, migrationId, requestedHost: null };
const fault = { code: 500, message: 'no' };

const migrate: ServerCommand = { type: 'migrate', ...asked, asAdmin: true };
const live: ServerCommand = { type: 'liveMigrate', ...asked, disks: 'copied', asAdmin: true };
const schedule = {
  ...history.schedule(2, otherHost),
  disks: { format: 'qcow2', root: transferId, ephemeral: null },
} as const;
const bare = { ...schedule, disks: null };
const place = (to: typeof schedule | typeof bare): ServerCommand => ({
  type: 'placeMigration',
  serverId,
  schedule: to,
});
const report = (fact: HostFact, of = here): ServerCommand => ({ type: 'report', ...of, fact, now });
const done = (
  operation: 'migrate' | 'liveMigrate' | 'revertResize',
  generation: number,
  power: typeof settled | typeof off,
) => report({ kind: 'operationDone', generation, operation, ...power });

const requested: ServerEvent = { type: 'ServerMigrateRequested', data: { ...asked, generation: 1 } };
const liveRequested: ServerEvent = {
  type: 'ServerLiveMigrateRequested',
  data: { ...asked, generation: 1, disks: 'copied' },
};
const scheduled: ServerEvent = { type: 'ServerMigrationScheduled', data: schedule };
const liveScheduled: ServerEvent = { type: 'ServerMigrationScheduled', data: bare };
const sent: ServerEvent = { type: 'ServerMigrationSent', data: { ...here, generation: 1, ...off } };
const root = { ...request.image, id: transferId } as ImageSnapshot;
const landing = { ...there, disks: { root, ephemeral: null } };
const landed: ServerEvent = { type: 'ServerMigrationLanded', data: landing };
const spawned: ServerEvent = { type: 'ServerSpawned', data: { ...there, ...settled } };
const migrated: ServerEvent = { type: 'ServerMigrated', data: { ...there, generation: 1, ...settled } };
const moved = [...active, requested, scheduled, sent, landed, spawned, migrated];
const absent = (of: typeof here, claims = [of.attempt]): ServerEvent => ({
  type: 'ServerGuestAbsent',
  data: { ...of, claims },
});
const failed = (generation: number, message = 'no'): ServerEvent => ({
  type: 'ServerMigrationFailed',
  data: { serverId, generation, fault: { code: 500, message } },
});
const abandoned = (reason: string): ServerEvent => ({
  type: 'ServerAttemptAbandoned',
  data: { serverId, attempt: 2, reason },
});
const returned: ServerEvent = { type: 'ServerMigrationReturned', data: here };
const revertRequested: ServerEvent = { type: 'ServerResizeRevertRequested', data: { serverId, generation: 2 } };
const reverted: ServerEvent = {
  type: 'ServerResizeReverted',
  data: { ...here, generation: 2, ...settled, released: 2 },
};
const unheard = (action: string): ServerEvent => ({
  type: 'ServerActionFailed',
  data: {
    ...{ serverId, action, power: null, unheard: true },
    fault: { code: 500, message: 'The action did not end in time: the host did not answer.' },
  },
});
const state = (...past: ServerEvent[]) => past.reduce(evolve, noServer);

describe('a cold move', () => {
  it('claims another host before anything happens to the guest', () => {
    given(...active)
      .when(migrate)
      .then(requested);
    given(...active, requested)
      .when(place(schedule))
      .then(scheduled);
    given(...active, requested, scheduled)
      .when(place(schedule))
      .thenNothing();
    expect(state(...active, requested, scheduled)).toMatchObject({
      ...{ taskState: 'resize_migrating', placement: { host }, spawned: true },
      operation: { kind: 'migrate', powerOn: true, done: false },
    });
  });
  it('leaves the guest off on its source before the target hears of it', () => {
    given(...active, requested, scheduled)
      .when(done('migrate', 1, off))
      .then(sent);
    const after = state(...active, requested, scheduled, sent);
    expect(after).toMatchObject({ taskState: 'resize_migrated', held: true, placement: { host }, power: 'shutdown' });
    expect(isSent(after)).toBe(true);
    given(...active, requested, scheduled, sent)
      .when(report({ kind: 'powerChanged', power: 'running', bootId: 'b1' }))
      .thenNothing();
    given(...active, requested, scheduled, sent)
      .when({ type: 'land', serverId, landing })
      .then(landed);
  });
  it('is placed on the target with what was sent, and keeps what it was on its source', () => {
    expect(state(...active, requested, scheduled, sent, landed)).toMatchObject({
      ...{ taskState: 'resize_finish', placement: { host: otherHost, attempt: 2 }, spawned: false, held: false },
      arrival: { root, powerOn: true },
      remains: [{ placement: { host, attempt: 1 }, part: 'kept', claims: [1] }],
    });
    given(...active, requested, scheduled, sent, landed)
      .when(report({ kind: 'spawned', ...settled }, there))
      .then(spawned, migrated);
    const after = state(...moved);
    expect(after).toMatchObject({ vmState: 'resized', taskState: null, transfersToDrop: [transferId] });
    expect(after.arrival).toBeUndefined();
  });
  it('has what was sent dropped once, also when the server is deleted later', () => {
    const dropped: ServerEvent = { type: 'ServerTransferDropped', data: { serverId, transferId } };
    const deleted: ServerEvent = { type: 'ServerDeleteRequested', data: { serverId } };
    expect(state(...moved, dropped, deleted)).toMatchObject({ transfersToDrop: [] });
    expect(state(...moved, deleted)).toMatchObject({ transfersToDrop: [transferId] });
  });
  it('ends with its guest, when that vanishes before it was sent, and gives its claim back', () => {
    const missing: ServerEvent = { type: 'ServerGuestMissing', data: here };
    const gone = 'The guest is no longer on its host.';
    const gaveUp: ServerEvent = {
      type: 'ServerActionFailed',
      data: { serverId, action: 'migrate', fault: { code: 500, message: gone }, power: 'running' },
    };
    for (const past of [
      [...active, requested],
      [...active, requested, scheduled],
    ])
      given(...past)
        .when(report({ kind: 'missing' }))
        .then(abandoned(gone), gaveUp, missing);
    expect(state(...active, requested, scheduled, abandoned(gone), gaveUp, missing)).toMatchObject({
      ...{ vmState: 'error', taskState: null, power: 'noState', migration: { status: 'error' } },
      ...{ quotaDue: true, transfersToDrop: [transferId] },
    });
  });
  it('hears nothing of its source while that is kept, and destroys it once the move is confirmed', () => {
    given(...moved)
      .when(report({ kind: 'absent' }))
      .thenNothing();
    const confirmed: ServerEvent = { type: 'ServerMigrationConfirmed', data: { serverId, generation: 2 } };
    given(...moved)
      .when({ type: 'confirmResize', serverId, asAdmin: false })
      .then(confirmed);
    expect(state(...moved, confirmed)).toMatchObject({ vmState: 'active', remains: [{ part: 'tombstone' }] });
    given(...moved, confirmed)
      .when(report({ kind: 'absent' }))
      .then(absent(here));
    expect(state(...moved, confirmed, absent(here)).remains).toEqual([]);
  });
  it('is still to be decided on when its guest is there again, whatever was done to it meanwhile', () => {
    const missing: ServerEvent = { type: 'ServerGuestMissing', data: there };
    const asked: ServerEvent = { type: 'ServerRebootRequested', data: { serverId, generation: 2, kind: 'hard' } };
    const rebooted: ServerEvent = { type: 'ServerRebooted', data: { ...there, generation: 2, ...settled } };
    const refused: ServerEvent = {
      type: 'ServerActionFailed',
      data: { serverId, action: 'reboot', fault, power: 'running' },
    };
    const reset: ServerEvent = { type: 'ServerStateReset', data: { serverId, state: 'active' } };
    const lost = [...moved, missing];
    expect(state(...lost).vmState).toBe('error');
    expect(state(...lost, asked, rebooted)).toMatchObject({ vmState: 'resized', remains: [{ part: 'kept' }] });
    expect(state(...lost, reset).vmState).toBe('resized');
    given(...lost, asked, rebooted)
      .when({ ...migrate, migrationId: transferId as string as MigrationId })
      .thenRefused('conflict', /vm_state resized/);
    given(...lost, asked, refused)
      .when({ type: 'revertResize', serverId, asAdmin: false })
      .then({ type: 'ServerResizeRevertRequested', data: { serverId, generation: 3 } });
    expect(state(...lost, asked, refused).resize).toBeDefined();
  });
  it('is reverted only once nothing is left on the target', () => {
    given(...moved)
      .when({ type: 'revertResize', serverId, asAdmin: false })
      .then(revertRequested);
    const waiting = state(...moved, revertRequested);
    expect(waiting).toMatchObject({
      ...{ placement: { host, attempt: 1 }, held: true, taskState: 'resize_reverting' },
      remains: [{ placement: { host: otherHost, attempt: 2 }, part: 'tombstone', claims: [2] }],
    });
    expect(canReturn(waiting)).toBe(false);
    given(...moved, revertRequested)
      .when({ type: 'returnHome', serverId })
      .thenNothing();
    given(...moved, revertRequested)
      .when(report({ kind: 'absent' }, there))
      .then(absent(there));
    given(...moved, revertRequested, absent(there))
      .when({ type: 'returnHome', serverId })
      .then(returned);
    given(...moved, revertRequested, absent(there), returned)
      .when(done('revertResize', 2, settled))
      .then(reverted);
    expect(state(...moved, revertRequested, absent(there), returned, reverted)).toMatchObject({
      ...{ vmState: 'active', held: false, remains: [], migration: { status: 'reverted' }, claims: [1] },
    });
  });
  it('that its source cannot send gives up the claim of the target', () => {
    const fact = {
      kind: 'operationFailed',
      generation: 1,
      operation: 'migrate',
      reason: 'no',
      unsupported: false,
    } as const;
    const refused: ServerEvent = {
      type: 'ServerActionFailed',
      data: { serverId, action: 'migrate', fault, power: 'running' },
    };
    given(...active, requested, scheduled)
      .when(report({ ...fact, power: 'running' }))
      .then(abandoned('no'), refused);
    expect(state(...active, requested, scheduled, abandoned('no'), refused)).toMatchObject({
      ...{ vmState: 'active', taskState: null, migration: { status: 'error' }, transfersToDrop: [transferId] },
    });
  });
  it('that its target cannot make goes back to its source', () => {
    given(...active, requested, scheduled, sent, landed)
      .when(report({ kind: 'spawnFailed', reason: 'no' }, there))
      .then(
        { type: 'ServerSpawnFailed', data: { ...there, reason: 'no' } },
        { type: 'ServerGuestAbsent', data: there },
        failed(2),
      );
    const after = state(
      ...[...active, requested, scheduled, sent, landed],
      ...[{ type: 'ServerSpawnFailed', data: { ...there, reason: 'no' } } as ServerEvent],
      ...[{ type: 'ServerGuestAbsent', data: there } as ServerEvent, failed(2)],
    );
    expect(after).toMatchObject({ placement: { host, attempt: 1 }, held: true, spawned: true, remains: [] });
    expect(canReturn(after)).toBe(true);
  });
  it('whose disks cannot be had goes back, and the target never hears of it', () =>
    given(...active, requested, scheduled, sent)
      .when({ type: 'failMigration', serverId, attempt: 2, fault })
      .then(abandoned('no'), failed(2)));
  it('that is deleted bars a target that has not heard of it, and destroys both after it has', () => {
    const deleted: ServerEvent = { type: 'ServerDeleteRequested', data: { serverId } };
    const remove: ServerCommand = { type: 'delete', serverId, asAdmin: false, now };
    for (const past of [[scheduled], [scheduled, sent]])
      given(...active, requested, ...past)
        .when(remove)
        .then(abandoned('the server was deleted'), deleted);
    given(...moved)
      .when(remove)
      .then(deleted);
    expect(state(...moved, deleted).remains).toMatchObject([{ part: 'tombstone' }]);
  });
});

describe('a live move', () => {
  const alive = [...active, liveRequested, liveScheduled];
  const liveSent: ServerEvent = { type: 'ServerMigrationSent', data: { ...here, generation: 1, ...off } };
  const liveLanded: ServerEvent = { type: 'ServerMigrationLanded', data: { ...there, disks: null } };
  const reboot: ServerEvent = { type: 'ServerRebootRequested', data: { serverId, generation: 2, kind: 'hard' } };
  const notRebooted: ServerEvent = {
    type: 'ServerActionFailed',
    data: { serverId, action: 'reboot', fault, power: 'running' },
  };

  it('that is over has nothing to do with what fails later', () =>
    expect(state(...alive, liveSent, liveLanded, spawned, migrated, reboot, notRebooted)).toMatchObject({
      migration: { status: 'completed' },
    }));
  it('whose guest was given up on its target keeps its source, and ends when the guest is there after all', () => {
    const missing: ServerEvent = { type: 'ServerGuestMissing', data: there };
    const lost = [...alive, liveSent, liveLanded, missing];
    const kept = { migration: { status: 'error' }, remains: [{ placement: { host }, part: 'kept' }] };
    expect(state(...lost)).toMatchObject({ ...kept, vmState: 'error' });
    expect(state(...lost, reboot, { ...notRebooted, data: { ...notRebooted.data, power: null } })).toMatchObject(kept);
    given(...lost)
      .when(report({ kind: 'missing' }, there))
      .thenNothing();
    given(...lost)
      .when(report({ kind: 'spawned', ...settled }, there))
      .then(spawned, migrated);
    expect(state(...lost, spawned, migrated)).toMatchObject({
      ...{ vmState: 'active', fault: null, migration: { status: 'completed' } },
      remains: [{ placement: { host }, part: 'tombstone' }],
    });
  });

  describe('whose guest was given up, and whose state was reset,', () => {
    const missing: ServerEvent = { type: 'ServerGuestMissing', data: there };
    const reset: ServerEvent = { type: 'ServerStateReset', data: { serverId, state: 'active' } };
    const sourceGone: ServerEvent = { type: 'ServerGuestAbsent', data: { ...here, claims: [1], retired: true } };
    const lost = [...alive, liveSent, liveLanded, missing, reset];

    it.each([
      ['a live migration', { ...live, migrationId: transferId as string as MigrationId }],
      ['a migration', { ...migrate, migrationId: transferId as string as MigrationId }],
      ['a resize', { type: 'resize', serverId, flavor: { ...request.flavor, id: '2' }, asAdmin: true }],
    ] as [string, ServerCommand][])('refuses %s, and ends when the guest is there after all', (_, again) => {
      for (const past of [lost, [...lost, sourceGone]]) {
        given(...past)
          .when(again)
          .thenRefused('conflict', /^The last migration of instance .* has not ended$/);
        given(...past)
          .when(report({ kind: 'spawned', ...settled }, there))
          .then(spawned, migrated);
        expect(serverAggregate.decide(again, state(...past, spawned, migrated))).toHaveLength(1);
      }
    });
    it('takes the guest although the source has left the cloud', () => {
      given(...lost)
        .when({ type: 'endOnRetired', serverId, host, now })
        .then(sourceGone);
      expect(state(...lost, sourceGone, spawned, migrated)).toMatchObject({
        ...{ vmState: 'active', power: 'running', migration: { status: 'completed' }, remains: [] },
      });
    });
    it('waits for no guest once it is deleted', () => {
      const deleted: ServerEvent = { type: 'ServerDeleteRequested', data: { serverId } };
      expect(isGivenUp(state(...lost, sourceGone))).toBe(true);
      expect(isGivenUp(state(...lost, sourceGone, deleted))).toBe(false);
      given(...lost, sourceGone, deleted)
        .when(report({ kind: 'spawned', ...settled }, there))
        .thenNothing();
    });
  });

  it('has the target wait for the guest, and the source destroyed once it is there', () => {
    given(...active)
      .when(live)
      .then(liveRequested);
    expect(state(...alive)).toMatchObject({
      ...{ vmState: 'active', taskState: 'migrating', operation: { kind: 'liveMigrate' } },
      remains: [{ placement: { host: otherHost }, part: 'incoming', claims: [2] }],
    });
    given(...alive)
      .when(done('liveMigrate', 1, off))
      .then(liveSent);
    expect(state(...alive, liveSent)).toMatchObject({ held: true, power: 'running', vmState: 'active' });
    expect(state(...alive, liveSent, liveLanded, spawned, migrated)).toMatchObject({
      ...{ vmState: 'active', taskState: null, placement: { host: otherHost }, migration: { status: 'completed' } },
      remains: [{ placement: { host }, part: 'tombstone', claims: [1] }],
    });
  });
  it('whose guest is lost before it was accepted is an error, never made again, and its source is kept', () => {
    const here = [...alive, liveSent, liveLanded];
    expect(state(...here).remains).toMatchObject([{ placement: { host }, part: 'kept' }]);
    const missing: ServerEvent = { type: 'ServerGuestMissing', data: there };
    given(...here)
      .when(report({ kind: 'missing' }, there))
      .then(missing);
    expect(state(...here, missing)).toMatchObject({
      ...{ vmState: 'error', spawned: true, migration: { status: 'error' }, remains: [{ part: 'kept' }] },
    });
  });
  it('whose guest vanishes on its source leaves nothing on the target', () => {
    const missing: ServerEvent = { type: 'ServerGuestMissing', data: here };
    const gaveUp: ServerEvent = {
      type: 'ServerActionFailed',
      data: {
        ...{ serverId, action: 'live-migration', power: 'running' },
        fault: { code: 500, message: 'The guest is no longer on its host.' },
      },
    };
    given(...alive)
      .when(report({ kind: 'missing' }))
      .then(gaveUp, missing);
    expect(state(...alive, gaveUp, missing)).toMatchObject({
      ...{ vmState: 'error', taskState: null, migration: { status: 'error' } },
      remains: [{ placement: { host: otherHost }, part: 'tombstone' }],
    });
  });
  it('that is aborted leaves the guest where it is, and nothing on the target', () => {
    const abort: ServerEvent = { type: 'ServerMigrationAbortRequested', data: { serverId } };
    given(...alive)
      .when({ type: 'abortMigration', serverId, migrationId, asAdmin: false })
      .then(abort);
    given(...alive, liveSent)
      .when({ type: 'abortMigration', serverId, migrationId, asAdmin: false })
      .thenNothing();
    const locked: ServerEvent = { type: 'ServerLocked', data: { serverId, by: 'owner', reason: null } };
    given(...alive, locked)
      .when({ type: 'abortMigration', serverId, migrationId, asAdmin: false })
      .thenRefused('conflict', /is locked/);
    given(...alive, locked)
      .when({ type: 'abortMigration', serverId, migrationId, asAdmin: true })
      .then(abort);
    const gaveUp: ServerEvent = {
      type: 'ServerActionFailed',
      data: { serverId, action: 'live-migration', fault, power: 'running' },
    };
    given(...alive, abort)
      .when(
        report({
          kind: 'operationFailed',
          generation: 1,
          operation: 'liveMigrate',
          reason: 'no',
          unsupported: false,
          power: 'running',
        }),
      )
      .then(gaveUp);
    expect(state(...alive, abort, gaveUp)).toMatchObject({
      ...{ vmState: 'active', taskState: null, migration: { status: 'cancelled' } },
      remains: [{ part: 'tombstone', claims: [2] }],
    });
  });
  it('is forced to its end once, while it is under way', () => {
    const forced: ServerEvent = { type: 'ServerMigrationForceRequested', data: { serverId } };
    const force: ServerCommand = { type: 'forceMigration', serverId, migrationId, asAdmin: false };
    given(...alive)
      .when(force)
      .then(forced);
    expect(state(...alive, forced).operation).toMatchObject({ kind: 'liveMigrate', force: true, done: false });
    for (const past of [[...alive, forced], [...alive, liveSent], [...active, liveRequested], [...alive.slice(0, -1)]])
      given(...past)
        .when(force)
        .thenNothing();
    given(...alive, { type: 'ServerLocked', data: { serverId, by: 'owner', reason: null } })
      .when(force)
      .thenRefused('conflict', /is locked/);
  });
  it('that waits for its place is given up at once', () => {
    const gaveUp = 'The live migration was aborted.';
    given(...active, liveRequested)
      .when({ type: 'abortMigration', serverId, migrationId, asAdmin: false })
      .then({ type: 'ServerMigrationAbortRequested', data: { serverId } }, abandoned(gaveUp), {
        type: 'ServerActionFailed',
        data: { serverId, action: 'live-migration', fault: { code: 500, message: gaveUp }, power: 'running' },
      });
  });
});

describe('a host that is not heard of', () => {
  const expire = (task: 'resize_migrating' | 'resize_finish' | 'migrating', generation = 1): ServerCommand => ({
    ...{ type: 'expireTask', serverId, task, generation, now },
  });
  it('is still asked for what it was asked for, and counts when it comes back', () => {
    given(...active, requested, scheduled)
      .when(expire('resize_migrating'))
      .then(unheard('migrate'));
    expect(state(...active, requested, scheduled, unheard('migrate'))).toMatchObject({
      ...{ vmState: 'error', taskState: null, operation: { done: false } },
    });
    given(...active, requested, scheduled, unheard('migrate'))
      .when(done('migrate', 1, off))
      .then(sent);
    expect(state(...active, requested, scheduled, unheard('migrate'), sent)).toMatchObject({
      ...{ vmState: 'active', taskState: 'resize_migrated', fault: null },
    });
  });
  it('bars every other action meanwhile, but not a deletion', () => {
    const late = [...active, requested, scheduled, unheard('migrate')];
    given(...late)
      .when({ type: 'power', serverId, operation: 'hardReboot', asAdmin: false })
      .thenRefused('conflict', /while it is in task_state resize_migrating$/);
    given(...late)
      .when({ type: 'delete', serverId, asAdmin: false, now })
      .then(abandoned('the server was deleted'), { type: 'ServerDeleteRequested', data: { serverId } });
  });
  it('can be gone back from once the server is its own', () => {
    const late = [...active, requested, scheduled, sent, landed, unheard('migrate')];
    given(...active, requested, scheduled, sent, landed)
      .when(expire('resize_finish'))
      .then(unheard('migrate'));
    given(...late)
      .when({ type: 'revertResize', serverId, asAdmin: false })
      .then(revertRequested);
    given(...late)
      .when(report({ kind: 'spawned', ...settled }, there))
      .then(spawned, migrated);
    expect(state(...late, spawned, migrated)).toMatchObject({ vmState: 'resized', fault: null });
  });
});

describe('a host that has left the cloud for good', () => {
  const end = (gone = host): ServerCommand => ({ type: 'endOnRetired', serverId, host: gone, now });
  const gone = (of: typeof here): ServerEvent => ({
    type: 'ServerGuestAbsent',
    data: { ...of, claims: [of.attempt], retired: true },
  });
  const lost = (of = here): ServerEvent => ({
    type: 'ServerGuestLost',
    data: { ...of, fault: { code: 500, message: 'The host of the server has left the cloud.' } },
  });
  const confirmed: ServerEvent = { type: 'ServerMigrationConfirmed', data: { serverId, generation: 2 } };

  it('has nothing any more of what was to be destroyed there', () => {
    given(...moved, confirmed)
      .when(end())
      .then(gone(here));
    expect(state(...moved, confirmed, gone(here))).toMatchObject({ vmState: 'active', remains: [] });
  });
  it('as the target lets a server that is reverted return', () => {
    given(...moved, revertRequested)
      .when(end(otherHost))
      .then(gone(there));
    expect(canReturn(state(...moved, revertRequested, gone(there)))).toBe(true);
  });
  it('as the source makes a move final that could have been reverted', () => {
    given(...moved)
      .when(end())
      .then(confirmed, gone(here));
    expect(state(...moved, confirmed, gone(here))).toMatchObject({ vmState: 'active', resize: undefined, remains: [] });
    const landedLast = [...active, requested, scheduled, sent, landed, gone(here)];
    given(...landedLast)
      .when(report({ kind: 'spawned', ...settled }, there))
      .then(spawned, migrated, confirmed);
  });
  it('as the source leaves a server that should return in error, and it can be deleted', () => {
    given(...moved, revertRequested)
      .when(end())
      .then(lost());
    const after = state(...moved, revertRequested, lost(), absent(there));
    expect(after).toMatchObject({
      ...{ vmState: 'error', taskState: null, power: 'noState', held: false },
      ...{ migration: { status: 'error' }, remains: [], quotaDue: true },
    });
    expect(canReturn(after)).toBe(false);
    given(...moved, revertRequested, lost())
      .when(end())
      .thenNothing();
    const deleted: ServerEvent = { type: 'ServerDeleteRequested', data: { serverId } };
    given(...moved, revertRequested, lost(), deleted)
      .when(end())
      .then(
        { type: 'ServerGuestAbsent', data: { ...here, claims: [1], retired: true } },
        { type: 'ServerDeleted', data: { serverId, at: now, hostConfirmed: false } },
      );
  });
  it('as the target of what was made there leaves the way back open', () => {
    given(...moved)
      .when(end(otherHost))
      .then(lost(there));
    expect(state(...moved, lost(there))).toMatchObject({ vmState: 'error', migration: { status: 'finished' } });
    given(...moved, lost(there))
      .when({ type: 'revertResize', serverId, asAdmin: false })
      .then(revertRequested);
  });
  it('as the target of what was not made yet sends the server back', () => {
    const message = 'The host of the server has left the cloud.';
    given(...active, requested, scheduled, sent, landed)
      .when(end(otherHost))
      .then(failed(2, message));
    given(...active, requested, scheduled, sent, landed, failed(2, message))
      .when(end(otherHost))
      .then(gone(there));
  });
  it('is not waited for by a guest that is on its way', () => {
    const past = [...active, liveRequested, liveScheduled];
    const abort: ServerEvent = { type: 'ServerMigrationAbortRequested', data: { serverId } };
    given(...past)
      .when(end(otherHost))
      .then(abort, gone(there));
    given(...past)
      .when(end())
      .then(lost());
    expect(state(...past, lost())).toMatchObject({ vmState: 'error', remains: [{ part: 'tombstone' }] });
  });
  it('takes its servers with it, and the claim of a target that has not heard of them', () => {
    given(...active)
      .when(end())
      .then(lost());
    const reason = 'The host of the server has left the cloud.';
    given(...active, requested)
      .when(end())
      .then(abandoned(reason), lost());
    given(...active, requested, scheduled)
      .when(end())
      .then(abandoned(reason), lost());
    given(...active, requested, scheduled, sent)
      .when(end())
      .thenNothing();
  });
});
