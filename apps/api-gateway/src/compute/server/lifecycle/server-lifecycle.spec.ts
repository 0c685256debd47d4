import type { HostFact, Instant, ServerEvent } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, it } from 'vitest';
import { history } from './server.fixtures.js';
import { type ServerCommand, serverAggregate } from './server-lifecycle.js';

const given = specificationOf(serverAggregate);
const { serverId, host, otherHost, created, portsAllocated, scheduled, spawned, building, active } = history;
const now = '2026-01-01T00:00:00.000Z' as Instant;
const onHost = { serverId, host, attempt: 1 };

const power = (operation: Extract<ServerCommand, { type: 'power' }>['operation'], asAdmin = false): ServerCommand => ({
  type: 'power',
  serverId,
  operation,
  asAdmin,
});
const report = (fact: HostFact, attempt = 1, from = host): ServerCommand => ({
  type: 'report',
  serverId,
  host: from,
  attempt,
  fact,
  now,
});
const remove: ServerCommand = { type: 'delete', serverId, asAdmin: false, now };
const running: HostFact = { kind: 'spawned', power: 'running', bootId: 'b1' };
const failed: HostFact = { kind: 'spawnFailed', reason: 'no' };
const deleteRequested: ServerEvent = { type: 'ServerDeleteRequested', data: { serverId } };
const deleted = (hostConfirmed: boolean): ServerEvent => ({
  type: 'ServerDeleted',
  data: { serverId, at: now, hostConfirmed },
});
const absent: ServerEvent = { type: 'ServerGuestAbsent', data: onHost };
const stopRequested: ServerEvent = { type: 'ServerStopRequested', data: { serverId, generation: 1 } };
const stopped: ServerEvent = {
  type: 'ServerStopped',
  data: { ...onHost, generation: 1, power: 'shutdown', bootId: 'b1' },
};

describe('building a server', () => {
  const create: ServerCommand = { type: 'create', request: history.request };
  const schedule: ServerCommand = { type: 'schedule', schedule: history.schedule(1), ports: [] };
  it('begins with the request', () => given().when(create).then(created));
  it('is asked for once', () => given(created).when(create).thenNothing());
  it('is refused after its request was given up', () =>
    given({ type: 'ServerCreateAbandoned', data: { serverId } }).when(create).thenRefused('conflict'));
  it('takes the host of the next attempt, and its ports there with it', () =>
    given(created).when(schedule).then(portsAllocated, scheduled()));
  it('keeps its ports over attempts', () => given(created, portsAllocated).when(schedule).then(scheduled()));
  it('fails without a place, and gives up one that it may have or get', () => {
    const fault = { code: 500, message: 'no' };
    const fail: ServerCommand = { type: 'failBuild', serverId, attempt: 1, fault };
    const failed: ServerEvent = { type: 'ServerBuildFailed', data: { serverId, fault } };
    const abandoned: ServerEvent = { type: 'ServerAttemptAbandoned', data: { serverId, attempt: 1, reason: 'no' } };
    given(created).when(fail).then(abandoned, failed);
    given(created, deleteRequested).when(fail).then(abandoned);
    given(...building)
      .when(fail)
      .thenNothing();
  });
  it('hears the same schedule twice', () =>
    given(...building)
      .when(schedule)
      .thenNothing());
  it('refuses a late schedule of an attempt that was abandoned', () =>
    given(created, portsAllocated, {
      type: 'ServerAttemptAbandoned',
      data: { serverId, attempt: 1, reason: 'late' },
    })
      .when(schedule)
      .thenRefused('conflict', /not wanted any more/));
  it('is done when its host reports the guest', () =>
    given(...building)
      .when(report(running))
      .then(spawned));
  it('hears the same report twice', () =>
    given(...active)
      .when(report(running))
      .thenNothing());
});

describe('attempt fencing', () => {
  it('another host is not heard', () =>
    given(...building)
      .when(report(running, 1, otherHost))
      .thenNothing());
  it('another attempt is not heard', () =>
    given(...building)
      .when(report(running, 2))
      .thenNothing());
  it('a failed attempt leaves nothing and lets the next host try', () =>
    given(...building)
      .when(report(failed))
      .then({ type: 'ServerSpawnFailed', data: { ...onHost, reason: 'no' } }, absent));
  it('the third failure ends the build', () =>
    given(
      created,
      portsAllocated,
      { type: 'ServerAttemptAbandoned', data: { serverId, attempt: 2, reason: 'x' } },
      scheduled(3),
    )
      .when(report(failed, 3))
      .then(
        { type: 'ServerSpawnFailed', data: { ...onHost, attempt: 3, reason: 'no' } },
        { type: 'ServerGuestAbsent', data: { ...onHost, attempt: 3 } },
        {
          type: 'ServerBuildFailed',
          data: {
            serverId,
            fault: {
              code: 500,
              message: `Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures for instance ${serverId}. no`,
            },
          },
        },
      ));
});

describe('spawn once', () => {
  it('a missing guest is an error and never a new attempt', () =>
    given(...active)
      .when(report({ kind: 'missing' }))
      .then({ type: 'ServerGuestMissing', data: onHost }));
  it('a spawn that failed after it was reported as spawned is not heard', () =>
    given(...active)
      .when(report(failed))
      .thenNothing());
  it('a server that lost its guest is not scheduled again', () =>
    given(...active, { type: 'ServerGuestMissing', data: onHost })
      .when({ type: 'schedule', schedule: history.schedule(2), ports: [] })
      .thenRefused('conflict'));
});

describe('power', () => {
  it('stop asks for the next generation', () =>
    given(...active)
      .when(power('stop'))
      .then(stopRequested));
  it('stop is refused while it runs', () =>
    given(...active, stopRequested)
      .when(power('stop'))
      .thenRefused('conflict', /^Cannot 'stop' instance .* while it is in task_state powering-off$/));
  it('start of a running server is refused with its state', () =>
    given(...active)
      .when(power('start'))
      .thenRefused('conflict', /^Cannot 'start' instance .* while it is in vm_state active$/));
  it('a stopped server starts', () =>
    given(...active, stopRequested, stopped)
      .when(power('start'))
      .then({ type: 'ServerStartRequested', data: { serverId, generation: 2 } }));
  it('a hard reboot passes a soft one that hangs', () =>
    given(...active, { type: 'ServerRebootRequested', data: { serverId, generation: 1, kind: 'soft' } })
      .when(power('hardReboot'))
      .then({ type: 'ServerRebootRequested', data: { serverId, generation: 2, kind: 'hard' } }));
  it('an older generation reported late is not heard', () =>
    given(...active, stopRequested, stopped, { type: 'ServerStartRequested', data: { serverId, generation: 2 } })
      .when(report({ kind: 'operationDone', generation: 1, operation: 'stop', power: 'shutdown', bootId: 'b1' }))
      .thenNothing());
  it('a locked server refuses its users, not an administrator', () => {
    const locked: ServerEvent = { type: 'ServerLocked', data: { serverId, reason: null, by: 'owner' } };
    given(...active, locked)
      .when(power('stop'))
      .thenRefused('conflict', /is locked$/);
    given(...active, locked)
      .when(power('stop', true))
      .then(stopRequested);
  });
  it('a change nobody asked for is kept and told apart by boot id', () => {
    const fact = (bootId: string): HostFact => ({ kind: 'powerChanged', power: 'shutdown', bootId });
    const event = (cause: 'guest' | 'hostBoot', bootId: string): ServerEvent => ({
      type: 'ServerPowerChanged',
      data: { ...onHost, power: 'shutdown', cause, bootId },
    });
    given(...active)
      .when(report(fact('b1')))
      .then(event('guest', 'b1'));
    given(...active)
      .when(report(fact('b2')))
      .then(event('hostBoot', 'b2'));
  });
});

describe('deletion wins', () => {
  it('a server without a host is gone at once, and its next attempt is barred', () =>
    given(created, portsAllocated)
      .when(remove)
      .then(
        deleteRequested,
        { type: 'ServerAttemptAbandoned', data: { serverId, attempt: 1, reason: 'the server was deleted' } },
        deleted(true),
      ));
  it('a server on a host waits for it', () =>
    given(...active)
      .when(remove)
      .then(deleteRequested));
  it('asked twice it is one deletion', () =>
    given(...active, deleteRequested)
      .when(remove)
      .thenNothing());
  it('ends when the host confirms that nothing is left', () =>
    given(...active, deleteRequested)
      .when(report({ kind: 'absent' }))
      .then(absent, deleted(true)));
  it('ends at the deadline with a host that is silent; the tombstone stays', () =>
    given(...active, deleteRequested)
      .when({ type: 'expireTask', serverId, task: 'deleting', generation: 0, now })
      .then(deleted(false)));
  it('a host that returns later settles the tombstone', () =>
    given(...active, deleteRequested, deleted(false))
      .when(report({ kind: 'absent' }))
      .then(absent));
  it('a spawn in flight is not heard as a failure to retry', () =>
    given(...building, deleteRequested)
      .when(report(failed))
      .then({ type: 'ServerSpawnFailed', data: { ...onHost, reason: 'no' } }, absent, deleted(true)));
});

describe('destroy only on a tombstone', () => {
  it('an absence nobody asked for is no event', () =>
    given(...active)
      .when(report({ kind: 'absent' }))
      .thenNothing());
});

describe('deadlines', () => {
  const expire = (task: Extract<ServerCommand, { type: 'expireTask' }>['task'], generation = 0): ServerCommand => ({
    type: 'expireTask',
    serverId,
    task,
    generation,
    now,
  });
  it('a silent host ends the build in ERROR, and no second host is tried', () =>
    given(...building)
      .when(expire('spawning'))
      .then({
        type: 'ServerBuildFailed',
        data: {
          serverId,
          fault: { code: 500, message: 'Build of instance timed out: its host did not answer in time.' },
        },
      }));
  it('a later report corrects it', () =>
    given(...building, { type: 'ServerBuildFailed', data: { serverId, fault: { code: 500, message: 'late' } } })
      .when(report(running))
      .then(spawned));
  it('a power action that never ends fails and keeps the power last reported', () =>
    given(...active, stopRequested)
      .when(expire('powering-off', 1))
      .then({
        type: 'ServerActionFailed',
        data: {
          serverId,
          action: 'stop',
          fault: { code: 500, message: 'The action did not end in time: the host did not answer.' },
          power: null,
        },
      }));
  it('a deadline of an action that ended is no event', () =>
    given(...active, stopRequested, stopped)
      .when(expire('powering-off', 1))
      .thenNothing());
});
