import type { HostFact, Instant, ServerEvent } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, expect, it } from 'vitest';
import { history } from '../lifecycle/server.fixtures.js';
import { evolve } from '../lifecycle/server-evolve.js';
import { type ServerCommand, serverAggregate } from '../lifecycle/server-lifecycle.js';
import { noServer, type Server } from '../state/server.js';

const given = specificationOf(serverAggregate);
const { serverId, host, active, request } = history;
const image = { ...request.image, id: 'c9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b02' } as typeof request.image;
const now = '2026-01-01T00:00:00.000Z' as Instant;
const ask = (wanted: object = {}): ServerCommand => ({
  type: 'rebuild',
  serverId,
  wanted: { image, ...wanted },
  asAdmin: false,
});
const requested = (more: object = {}): ServerEvent => ({
  type: 'ServerRebuildRequested',
  data: { serverId, generation: 1, image, powerOn: true, ...more },
});
const onHost = { serverId, host, attempt: 1 };
const rebuilt: ServerEvent = {
  type: 'ServerRebuilt',
  data: { ...onHost, generation: 1, power: 'running', bootId: 'b1' },
};
const report = (fact: HostFact): ServerCommand => ({ type: 'report', ...onHost, fact, now });
const done = report({ kind: 'operationDone', generation: 1, operation: 'rebuild', power: 'running', bootId: 'b1' });
const failure = (power: 'running' | 'shutdown' | null): ServerEvent => ({
  type: 'ServerActionFailed',
  data: { serverId, action: 'rebuild', fault: { code: 500, message: 'no' }, power },
});
const stopped: ServerEvent = {
  type: 'ServerStopped',
  data: { ...onHost, generation: 1, power: 'shutdown', bootId: 'b1' },
};
const stopRequested: ServerEvent = { type: 'ServerStopRequested', data: { serverId, generation: 1 } };
const state = (...past: ServerEvent[]): Server => past.reduce(evolve, noServer);

describe('rebuilding', () => {
  it('is asked for with what changes, and leaves what was off off', () => {
    given(...active)
      .when(ask({ name: 'new' }))
      .then(requested({ name: 'new' }));
    given(...active, stopRequested, stopped)
      .when(ask())
      .then(requested({ generation: 2, powerOn: false }));
  });
  it('is refused while it runs, and in states that have another way out', () => {
    given(...active, requested())
      .when(ask())
      .thenRefused('conflict', /^Cannot 'rebuild' instance .* while it is in task_state rebuilding$/);
    const suspended = { ...onHost, generation: 1, power: 'suspended' as const, bootId: 'b1' };
    given(
      ...active,
      { type: 'ServerSuspendRequested', data: { serverId, generation: 1 } },
      { type: 'ServerSuspended', data: suspended },
    )
      .when(ask())
      .thenRefused('conflict', /while it is in vm_state suspended$/);
  });
  it('happens once for each time it is asked for', () => {
    given(...active, requested())
      .when(done)
      .then(rebuilt);
    given(...active, requested(), rebuilt)
      .when(done)
      .thenNothing();
    expect(state(...active, requested(), rebuilt)).toMatchObject({ build: 1, image, vmState: 'active', fault: null });
  });
  it('that failed leaves the old image, unless nobody knows', () => {
    const past = [...active, requested()];
    expect(state(...past, failure('shutdown'))).toMatchObject({ vmState: 'error', image: request.image });
    expect(state(...past, failure('running'))).toMatchObject({ vmState: 'active', image: request.image });
    expect(state(...past, failure(null))).toMatchObject({ vmState: 'error', image });
    given(...past, failure('shutdown'))
      .when(ask())
      .then(requested({ generation: 2 }));
  });
  it('that failed leaves what was off off', () => {
    const off = [...active, stopRequested, stopped, requested({ generation: 2, powerOn: false })];
    expect(state(...off, failure('shutdown'))).toMatchObject({
      ...{ vmState: 'stopped', power: 'shutdown', image: request.image, fault: { message: 'no' } },
    });
    expect(state(...off, failure(null))).toMatchObject({ vmState: 'error' });
    given(...off, failure('shutdown'))
      .when({ type: 'power', serverId, operation: 'start', asAdmin: false })
      .then({ type: 'ServerStartRequested', data: { serverId, generation: 3 } });
  });
  describe('that its host tells nothing of in time', () => {
    const unheard: ServerEvent = {
      type: 'ServerActionFailed',
      data: {
        ...{ serverId, action: 'rebuild', power: null, unheard: true },
        fault: { code: 500, message: 'The action did not end in time: the host did not answer.' },
      },
    };
    const late = [...active, requested(), unheard];
    const failed = report({
      ...{ kind: 'operationFailed', generation: 1, operation: 'rebuild', reason: 'no' },
      ...{ unsupported: false, power: 'running' },
    });
    it('is in error, and nothing else is asked of it', () => {
      given(...active, requested())
        .when({ type: 'expireTask', serverId, task: 'rebuilding', generation: 1, now })
        .then(unheard);
      expect(state(...late)).toMatchObject({ vmState: 'error', taskState: null, fault: { code: 500 }, image });
      given(...late)
        .when({ type: 'power', serverId, operation: 'hardReboot', asAdmin: false })
        .thenRefused('conflict', /while it is in task_state rebuilding$/);
    });
    it('is what the host tells of it later', () => {
      given(...late)
        .when(done)
        .then(rebuilt);
      expect(state(...late, rebuilt)).toMatchObject({ vmState: 'active', build: 1, image, fault: null });
      given(...late)
        .when(failed)
        .then(failure('running'));
      expect(state(...late, failure('running'))).toMatchObject({ vmState: 'active', image: request.image });
    });
    it('goes on although an administrator set its state', () => {
      const reset: ServerEvent = {
        type: 'ServerStateReset',
        data: { serverId, state: 'active', keepsOperation: true },
      };
      const past = [...active, requested(), reset];
      given(...past)
        .when(done)
        .then(rebuilt);
      expect(state(...past, rebuilt)).toMatchObject({ vmState: 'active', build: 1, image });
      expect(state(...past, failure('running'))).toMatchObject({ vmState: 'active', image: request.image });
    });
  });
  it('ended with a reset of the state in logs of older releases', () => {
    given(...active, requested(), { type: 'ServerStateReset', data: { serverId, state: 'active' } })
      .when(done)
      .thenNothing();
  });
  it('keeps secrets that it replaced until the server goes, and no files of the request before', () => {
    const [old, files, data] = ['a', 'b', 'c'].map((ref) => ({ ref, fingerprint: '00' }));
    const created = { ...request, userData: old!, injectedFiles: files! };
    const past = [{ type: 'ServerCreateRequested', data: created } as ServerEvent, ...active.slice(1)];
    const after = state(...past, requested({ userData: data }));
    expect(after).toMatchObject({ userData: data, formerSecrets: [files, old] });
    expect(after.injectedFiles).toBeUndefined();
    expect(state(...past, requested())).toMatchObject({ userData: old, formerSecrets: [files] });
  });
});
