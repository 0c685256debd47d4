import type { ServerEvent } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, it } from 'vitest';
import { history } from '../lifecycle/server.fixtures.js';
import { type ServerCommand, serverAggregate } from '../lifecycle/server-lifecycle.js';

const given = specificationOf(serverAggregate);
const { serverId, host, active } = history;
const ask = (operation: Extract<ServerCommand, { type: 'power' }>['operation']): ServerCommand => ({
  type: 'power',
  serverId,
  operation,
  asAdmin: false,
});
const suspendRequested: ServerEvent = { type: 'ServerSuspendRequested', data: { serverId, generation: 1 } };
const suspended: ServerEvent = {
  type: 'ServerSuspended',
  data: { serverId, host, attempt: 1, generation: 1, power: 'suspended', bootId: 'b1' },
};
const resumeRequested: ServerEvent = { type: 'ServerResumeRequested', data: { serverId, generation: 2 } };

describe('suspending', () => {
  it('is asked for of a server that runs', () =>
    given(...active)
      .when(ask('suspend'))
      .then(suspendRequested));
  it('is refused while it is under way, and of a server that is suspended', () => {
    given(...active, suspendRequested)
      .when(ask('suspend'))
      .thenRefused('conflict', /^Cannot 'suspend' instance .* while it is in task_state suspending$/);
    given(...active, suspendRequested, suspended)
      .when(ask('suspend'))
      .thenRefused('conflict', /while it is in vm_state suspended$/);
  });
  it('is done when the host says so, once', () => {
    const fact = { kind: 'operationDone', generation: 1, operation: 'suspend', power: 'suspended', bootId: 'b1' };
    const report = { type: 'report', serverId, host, attempt: 1, fact, now: '2026-01-01T00:00:00.000Z' };
    given(...active, suspendRequested)
      .when(report as ServerCommand)
      .then(suspended);
    given(...active, suspendRequested, suspended)
      .when(report as ServerCommand)
      .thenNothing();
  });
  it('leaves what can be resumed or rebooted hard, not what can be started or paused', () => {
    const past = [...active, suspendRequested, suspended];
    given(...past)
      .when(ask('resume'))
      .then(resumeRequested);
    given(...past)
      .when(ask('hardReboot'))
      .then({ type: 'ServerRebootRequested', data: { serverId, generation: 2, kind: 'hard' } });
    for (const operation of ['start', 'pause', 'unpause', 'stop', 'softReboot'] as const)
      given(...past)
        .when(ask(operation))
        .thenRefused('conflict', /while it is in vm_state suspended$/);
  });
  it('a resume that fails leaves the server suspended', () =>
    given(...active, suspendRequested, suspended, resumeRequested, {
      type: 'ServerActionFailed',
      data: { serverId, action: 'resume', fault: { code: 500, message: 'no' }, power: 'suspended' },
    })
      .when(ask('resume'))
      .then({ type: 'ServerResumeRequested', data: { serverId, generation: 3 } }));
});
