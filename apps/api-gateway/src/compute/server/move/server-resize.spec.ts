import type { FlavorSnapshot, HostFact, Instant, ServerEvent } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, expect, it } from 'vitest';
import { history } from '../lifecycle/server.fixtures.js';
import { evolve } from '../lifecycle/server-evolve.js';
import { type ServerCommand, serverAggregate } from '../lifecycle/server-lifecycle.js';
import { noServer } from '../state/server.js';
import { sizeHeld } from './server-resize.js';

const given = specificationOf(serverAggregate);
const { serverId, host, active, request } = history;
const flavor = { ...request.flavor, id: '2', vcpus: 2, memory: 64 } as FlavorSnapshot;
const now = '2026-01-01T00:00:00.000Z' as Instant;
const onHost = { serverId, host, attempt: 1 };
const settled = { power: 'running', bootId: 'b1' } as const;
const ask: ServerCommand = { type: 'resize', serverId, flavor, asAdmin: false };
const command = (type: 'confirmResize' | 'revertResize'): ServerCommand => ({ type, serverId, asAdmin: false });
const report = (fact: HostFact): ServerCommand => ({ type: 'report', ...onHost, fact, now });
const done = (generation: number, operation: 'resize' | 'confirmResize' | 'revertResize') =>
  report({ kind: 'operationDone', generation, operation, ...settled });
const place: ServerCommand = { type: 'placeResize', serverId, host, attempt: 2 };

const requested: ServerEvent = { type: 'ServerResizeRequested', data: { serverId, generation: 1, flavor } };
const scheduled: ServerEvent = { type: 'ServerResizeScheduled', data: { serverId, host, attempt: 2 } };
const resized: ServerEvent = { type: 'ServerResized', data: { ...onHost, generation: 1, ...settled } };
const asked = (what: 'Confirm' | 'Revert'): ServerEvent => ({
  type: `ServerResize${what}Requested`,
  data: { serverId, generation: 2 },
});
const confirmed: ServerEvent = {
  type: 'ServerResizeConfirmed',
  data: { ...onHost, generation: 2, ...settled, released: 1 },
};
const reverted: ServerEvent = {
  type: 'ServerResizeReverted',
  data: { ...onHost, generation: 2, ...settled, released: 2 },
};
const abandoned = (reason: string): ServerEvent => ({
  type: 'ServerAttemptAbandoned',
  data: { serverId, attempt: 2, reason },
});
const failed = (message: string, power: 'running' | 'shutdown' | null, code = 500): ServerEvent => ({
  type: 'ServerActionFailed',
  data: { serverId, action: 'resize', fault: { code, message }, power },
});
const state = (...past: ServerEvent[]) => past.reduce(evolve, noServer);
const open = [...active, requested, scheduled, resized];

describe('resizing', () => {
  it('takes a place of its own before the host hears of it', () => {
    given(...active)
      .when(ask)
      .then(requested);
    given(...active, requested)
      .when(place)
      .then(scheduled);
    given(...active, requested, scheduled)
      .when(place)
      .thenNothing();
    expect(state(...active, requested)).toMatchObject({ taskState: 'resize_prep', operation: null });
    expect(state(...active, requested, scheduled)).toMatchObject({
      ...{ taskState: 'resize_migrating', flavor: request.flavor, claims: [1, 2] },
      operation: { generation: 1, kind: 'resize', flavor, powerOn: true },
    });
  });
  it('is refused while it runs, and of a server that waits for a decision', () => {
    given(...active, requested)
      .when(ask)
      .thenRefused('conflict', /^Cannot 'resize' instance .* while it is in task_state resize_prep$/);
    given(...open)
      .when(ask)
      .thenRefused('conflict', /while it is in vm_state resized$/);
    given(...active)
      .when(command('confirmResize'))
      .thenRefused('conflict', /^Cannot 'confirmResize' instance .* while it is in vm_state active$/);
  });
  it('without a place leaves everything as it was, and gives up a claim that may come late', () => {
    const refusal: ServerCommand = { type: 'refuseResize', serverId, attempt: 2, fault: { code: 500, message: 'no' } };
    given(...active, requested)
      .when(refusal)
      .then(abandoned('no'), failed('no', 'running'));
    const after = state(...active, requested, abandoned('no'), failed('no', 'running'));
    expect(after).toMatchObject({ vmState: 'active', taskState: null, flavor: request.flavor, quotaDue: true });
    given(...active, requested, abandoned('no'), failed('no', 'running'))
      .when(place)
      .thenNothing();
    given(...active, requested)
      .when({ type: 'expireTask', serverId, task: 'resize_prep', generation: 1, now })
      .then(
        abandoned('The scheduler did not answer in time.'),
        failed('The scheduler did not answer in time.', 'running'),
      );
  });
  it('that its host could not do leaves the guest and its claim as before', () => {
    const fact = {
      kind: 'operationFailed',
      generation: 1,
      operation: 'resize',
      reason: 'no',
      unsupported: false,
    } as const;
    given(...active, requested, scheduled)
      .when(report({ ...fact, power: 'running' }))
      .then(abandoned('no'), failed('no', 'running'));
    const after = state(...active, requested, scheduled, abandoned('no'), failed('no', 'running'));
    expect(after).toMatchObject({ vmState: 'active', flavor: request.flavor, claims: [1], quotaDue: true });
    expect(after.resize).toBeUndefined();
  });
  it('that nobody heard of again keeps both claims, and wants somebody to look', () =>
    expect(state(...active, requested, scheduled, failed('late', null))).toMatchObject({
      ...{ vmState: 'error', claims: [1, 2] },
      resize: { flavor, before: request.flavor },
    }));
  it('waits for a decision with the other flavor, whatever becomes of its power', () => {
    expect(state(...open)).toMatchObject({ vmState: 'resized', taskState: null, flavor });
    const off: ServerEvent = {
      type: 'ServerPowerChanged',
      data: { ...onHost, power: 'shutdown', cause: 'guest', bootId: 'b1' },
    };
    expect(state(...open, off)).toMatchObject({ vmState: 'resized', power: 'shutdown' });
  });
  it('is confirmed: the claim for what was before ends', () => {
    given(...open)
      .when(command('confirmResize'))
      .then(asked('Confirm'));
    given(...open, asked('Confirm'))
      .when(done(2, 'confirmResize'))
      .then(confirmed);
    const after = state(...open, asked('Confirm'), confirmed);
    expect(after).toMatchObject({ vmState: 'active', flavor, claims: [2], quotaDue: true });
    expect(after.resize).toBeUndefined();
  });
  it('is reverted: the claim for the other flavor ends', () => {
    given(...open)
      .when(command('revertResize'))
      .then(asked('Revert'));
    expect(state(...open, asked('Revert')).operation).toMatchObject({ flavor: request.flavor, powerOn: true });
    given(...open, asked('Revert'))
      .when(done(2, 'revertResize'))
      .then(reverted);
    expect(state(...open, asked('Revert'), reverted)).toMatchObject({
      ...{ vmState: 'active', flavor: request.flavor, claims: [1] },
    });
  });
  it('that is cut off gives up a claim that may come late', () => {
    const deleted: ServerEvent = { type: 'ServerDeleteRequested', data: { serverId } };
    given(...active, requested)
      .when({ type: 'delete', serverId, asAdmin: false, now })
      .then(abandoned('the server was deleted'), deleted);
    given(...active, requested, abandoned('the server was deleted'), deleted)
      .when(place)
      .thenNothing();
    const byHand = 'An administrator set the state by hand.';
    given(...active, requested)
      .when({ type: 'resetState', serverId, state: 'active' })
      .then(abandoned(byHand), failed(byHand, 'running'), {
        type: 'ServerStateReset',
        data: { serverId, state: 'active' },
      });
  });
  it('gives back every claim with the guest', () =>
    given(...open, { type: 'ServerDeleteRequested', data: { serverId } })
      .when(report({ kind: 'absent' }))
      .then(
        { type: 'ServerGuestAbsent', data: { ...onHost, claims: [1, 2] } },
        { type: 'ServerDeleted', data: { serverId, at: now, hostConfirmed: true } },
      ));
  it('takes the larger of both flavors out of the quota until it is settled, once', () => {
    expect(sizeHeld(state(...open))).toEqual({ vcpus: 2, memory: 128 });
    expect(sizeHeld(state(...open, asked('Confirm'), confirmed))).toMatchObject({ vcpus: 2, memory: 64 });
    const settle: ServerCommand = { type: 'confirmQuotaSettled', serverId, generation: 2 };
    const quotaSettled: ServerEvent = { type: 'ServerQuotaSettled', data: { serverId } };
    given(...open, asked('Confirm'), confirmed)
      .when(settle)
      .then(quotaSettled);
    given(...open, asked('Confirm'), confirmed, quotaSettled)
      .when(settle)
      .thenNothing();
    const again: ServerEvent[] = [
      ...[...open, asked('Confirm'), confirmed],
      { type: 'ServerResizeRequested', data: { serverId, generation: 3, flavor } },
    ];
    expect(state(...again)).toMatchObject({ quotaDue: false });
    given(...again, abandoned('no'), failed('no', 'running'))
      .when(settle)
      .thenNothing();
  });
});
