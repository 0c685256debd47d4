import {
  AdminReply,
  AdminRequest,
  adminSubject,
  endpoint,
  type HostEvent,
  type HostId,
  hostBus,
  at as subjectAt,
} from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Scheduler } from '../../scheduler.js';
import { Simulation } from '../../testing/simulation.js';

let sim: Simulation;
let scheduler: Scheduler;
let hostId: HostId;
beforeEach(async () => {
  sim = new Simulation();
  scheduler = await sim.scheduler();
  hostId = await sim.host(scheduler, 'a', { maintenance: true });
});
afterEach(async () => {
  await sim.stop();
  expect(sim.errors).toEqual([]);
});

const operator = async (command: string, args: object = {}) => {
  const served = endpoint(adminSubject('scheduler', command), AdminRequest, AdminReply);
  return (await sim.bus.request(served, { args: { host: 'a', ...args } })).result;
};
const wish = async () =>
  (await sim.bus.request(hostBus.beat, { session: 1 }, subjectAt(hostBus.beat, hostId))).maintenance;
const told = (generation: number, error: string | null = null, session = 1) =>
  sim.bus.request(hostBus.maintained, { session, generation, error }, subjectAt(hostBus.maintained, hostId));
const news = async (after: number) =>
  (await sim.store.readStream(`host-${hostId}`)).slice(after).map(({ type, data, context }) => ({
    ...({ type, data } as HostEvent),
    by: (context.actor as { service?: string }).service,
  }));
const isOpen = async () => (await scheduler.reserve.reserve(sim.request(await sim.server()))).kind === 'claimed';

describe('maintenance of a host', () => {
  it('closes it for servers, is asked of its agent until that tells it, and opens it again; the log has who did it', async () => {
    const { length } = await sim.store.readStream(`host-${hostId}`);
    const asked = await operator('host-maintenance-on', { reason: 'new memory' });
    expect(asked).toMatchObject({ enabled: false, maintenance: { on: true, state: 'asked', error: null } });
    await operator('host-maintenance-on', { reason: 'new memory' });
    expect(await news(length)).toEqual([
      { type: 'HostMaintenanceRequested', data: { hostId, generation: 1, reason: 'new memory' }, by: 'omnivisor-cli' },
      { type: 'HostDisabled', data: { hostId, reason: 'maintenance: new memory' }, by: 'omnivisor-cli' },
    ]);
    expect([await wish(), await wish(), await isOpen()]).toEqual([
      ...[
        { generation: 1, on: true },
        { generation: 1, on: true },
      ],
      false,
    ]);
    await told(1);
    await told(1);
    expect([await wish(), await isOpen()]).toEqual([undefined, false]);
    await operator('host-maintenance-off');
    expect([await wish(), await isOpen()]).toEqual([{ generation: 2, on: false }, false]);
    await told(2);
    expect([await wish(), await isOpen()]).toEqual([undefined, true]);
    expect((await news(length + 2)).map(({ type, by }) => [type, by])).toEqual([
      ['HostMaintenanceEntered', `host-${hostId}`],
      ['HostMaintenanceEndRequested', 'omnivisor-cli'],
      ['HostMaintenanceLeft', `host-${hostId}`],
      ['HostEnabled', `host-${hostId}`],
    ]);
  });

  it('that fails is told with the words of the hypervisor, leaves it closed, and may be asked for again', async () => {
    await operator('host-maintenance-on');
    await told(1, 'emptying the host was refused: NO_HOSTS_AVAILABLE');
    const [shown] = (await operator('host-list')) as object[];
    expect(shown).toMatchObject({
      ...{ enabled: false, disabledReason: 'maintenance' },
      maintenance: { on: true, state: 'failed', error: 'emptying the host was refused: NO_HOSTS_AVAILABLE' },
    });
    expect(await wish()).toBeUndefined();
    await operator('host-maintenance-on');
    expect(await wish()).toEqual({ generation: 2, on: true });
    // It was about what was asked before.
    await told(1);
    expect(await wish()).toEqual({ generation: 2, on: true });
    await operator('host-maintenance-off');
    await told(3);
    expect(await isOpen()).toBe(true);
  });

  it('does not open a host that is disabled for another reason', async () => {
    await operator('host-disable', { reason: 'disk' });
    await operator('host-maintenance-on');
    await told(1);
    await operator('host-maintenance-off');
    await told(2);
    expect(await operator('host-list')).toMatchObject([{ enabled: false, disabledReason: 'disk' }]);
  });

  it('opens a host that it has closed, in whichever words it was asked for since', async () => {
    await operator('host-maintenance-on');
    await told(1, 'NO_HOSTS_AVAILABLE');
    await operator('host-maintenance-on', { reason: 'new memory' });
    await told(2);
    await operator('host-maintenance-off');
    await told(3, 'HOST_OFFLINE');
    await operator('host-maintenance-off');
    await told(4);
    expect(await operator('host-list')).toMatchObject([{ enabled: true, disabledReason: null }]);
    expect(await isOpen()).toBe(true);
  });

  it('leaves what an operator has said of it since', async () => {
    await operator('host-maintenance-on');
    await operator('host-disable', { reason: 'maintenance' });
    await told(1);
    await operator('host-maintenance-off');
    await told(2);
    const closed = { enabled: false, disabledReason: 'maintenance' };
    expect(await operator('host-list')).toMatchObject([closed]);
    await operator('host-maintenance-on');
    await operator('host-enable');
    await operator('host-disable', { reason: 'maintenance' });
    await told(3);
    await operator('host-maintenance-off');
    await told(4);
    expect(await operator('host-list')).toMatchObject([closed]);
  });

  it('is asked of the hypervisor again when it was done, as others may have ended it there', async () => {
    await operator('host-maintenance-on');
    await told(1);
    await operator('host-enable');
    expect(await operator('host-maintenance-on')).toMatchObject({ enabled: false, maintenance: { state: 'asked' } });
    expect(await wish()).toEqual({ generation: 2, on: true });
    await told(2);
    await operator('host-maintenance-off');
    await told(3);
    expect(await isOpen()).toBe(true);
  });

  it('is refused where no hypervisor does it, and where nobody could ask it', async () => {
    const other = await sim.host(scheduler, 'pool');
    const { length } = await sim.store.readStream(`host-${other}`);
    await expect(operator('host-maintenance-on', { host: 'pool' })).rejects.toMatchObject({
      ...{ kind: 'unsupported', message: expect.stringContaining('whole pool or cluster') },
    });
    expect(await sim.store.readStream(`host-${other}`)).toHaveLength(length);
    await expect(told(1, null, 7)).rejects.toMatchObject({ name: 'HostSessionEnded' });
  });
});
