import type { HostFact, Instant, ServerEvent } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, expect, it } from 'vitest';
import { history } from '../lifecycle/server.fixtures.js';
import { evolve } from '../lifecycle/server-evolve.js';
import { type ServerCommand, serverAggregate } from '../lifecycle/server-lifecycle.js';
import { noServer } from '../state/server.js';

const given = specificationOf(serverAggregate);
const { serverId, host, active, request } = history;
const image = { ...request.image, id: 'c9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b02' } as typeof request.image;
const onHost = { serverId, host, attempt: 1 };
const now = '2026-01-01T00:00:00.000Z' as Instant;
const rescue: ServerCommand = { type: 'rescue', serverId, image, asAdmin: false };
const unrescue: ServerCommand = { type: 'unrescue', serverId, asAdmin: false };
const report = (fact: HostFact): ServerCommand => ({ type: 'report', ...onHost, fact, now });
const requested: ServerEvent = { type: 'ServerRescueRequested', data: { serverId, generation: 1, image } };
const settled = { power: 'running', bootId: 'b1' } as const;
const rescued: ServerEvent = { type: 'ServerRescued', data: { ...onHost, generation: 1, ...settled } };
const unrescueRequested: ServerEvent = { type: 'ServerUnrescueRequested', data: { serverId, generation: 2 } };
const unrescued: ServerEvent = { type: 'ServerUnrescued', data: { ...onHost, generation: 2, ...settled } };
const failure = (action: string, power: 'running' | 'shutdown'): ServerEvent => ({
  type: 'ServerActionFailed',
  data: { serverId, action, fault: { code: 500, message: 'no' }, power },
});
const unheard = (action: string): ServerEvent => ({
  type: 'ServerActionFailed',
  data: {
    ...{ serverId, action, power: null, unheard: true },
    fault: { code: 500, message: 'The action did not end in time: the host did not answer.' },
  },
});
const off: ServerEvent = {
  type: 'ServerPowerChanged',
  data: { ...onHost, power: 'shutdown', cause: 'guest', bootId: 'b1' },
};
const state = (...past: ServerEvent[]) => past.reduce(evolve, noServer);

describe('rescuing', () => {
  const past = [...active, requested, rescued];
  it('is asked for once, and done when the host says so', () => {
    given(...active)
      .when(rescue)
      .then(requested);
    given(...active, requested)
      .when(rescue)
      .thenRefused('conflict', /^Cannot 'rescue' instance .* while it is in task_state rescuing$/);
    given(...active, requested)
      .when(report({ kind: 'operationDone', generation: 1, operation: 'rescue', ...settled }))
      .then(rescued);
  });
  it('leaves a server that can be unrescued, and nothing else', () => {
    given(...past)
      .when(unrescue)
      .then(unrescueRequested);
    given(...past)
      .when(rescue)
      .thenRefused('conflict', /while it is in vm_state rescued$/);
    given(...past)
      .when({ type: 'power', serverId, operation: 'hardReboot', asAdmin: false })
      .thenRefused('conflict', /while it is in vm_state rescued$/);
    given(...active)
      .when(unrescue)
      .thenRefused('conflict', /^Cannot 'unrescue' instance .* while it is in vm_state active$/);
  });
  it('lasts although its guest shuts itself down, or cannot be unrescued', () => {
    expect(state(...past, off)).toMatchObject({ vmState: 'rescued', power: 'shutdown' });
    expect(state(...past, unrescueRequested, failure('unrescue', 'shutdown'))).toMatchObject({ vmState: 'rescued' });
    expect(state(...past, unrescueRequested, unrescued)).toMatchObject({ vmState: 'active', image: request.image });
  });
  describe('that its host tells nothing of in time', () => {
    const reset: ServerEvent = { type: 'ServerStateReset', data: { serverId, state: 'active', keepsOperation: true } };
    it('is rescued when the host says so, and can be unrescued then', () => {
      given(...active, requested)
        .when({ type: 'expireTask', serverId, task: 'rescuing', generation: 1, now })
        .then(unheard('rescue'));
      expect(state(...active, requested, unheard('rescue'))).toMatchObject({ vmState: 'error', taskState: null });
      for (const late of [unheard('rescue'), reset]) {
        given(...active, requested, late)
          .when(report({ kind: 'operationDone', generation: 1, operation: 'rescue', ...settled }))
          .then(rescued);
        expect(state(...active, requested, late, rescued)).toMatchObject({ vmState: 'rescued', fault: null });
      }
    });
    it('stays rescued until the host says that it is not', () => {
      const late = [...past, unrescueRequested, unheard('unrescue')];
      given(...past, unrescueRequested)
        .when({ type: 'expireTask', serverId, task: 'unrescuing', generation: 2, now })
        .then(unheard('unrescue'));
      expect(state(...late)).toMatchObject({ vmState: 'rescued', taskState: null, fault: { code: 500 } });
      given(...late)
        .when(report({ kind: 'operationDone', generation: 2, operation: 'unrescue', ...settled }))
        .then(unrescued);
      expect(state(...late, unrescued)).toMatchObject({ vmState: 'active', fault: null });
      for (const ended of [unheard('unrescue'), reset])
        expect(state(...past, unrescueRequested, ended, failure('unrescue', 'running'))).toMatchObject({
          vmState: 'rescued',
        });
    });
  });
  it('that failed leaves what still runs, or was off, as it was, and the rest in error', () => {
    expect(state(...active, requested, failure('rescue', 'running'))).toMatchObject({ vmState: 'active' });
    expect(state(...active, requested, failure('rescue', 'shutdown'))).toMatchObject({ vmState: 'error' });
    for (const late of [[], [unheard('rescue')]])
      expect(state(...active, off, requested, ...late, failure('rescue', 'shutdown'))).toMatchObject({
        ...{ vmState: 'stopped', power: 'shutdown', wantedPower: 'shutdown', fault: { message: 'no' } },
      });
  });
});
