import type { ProjectId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { memoryCore, minutes, userContext } from '../../core/gateway-core.fixtures.js';
import { quotaAggregate } from '../quota/quota.js';
import { ownerOf, ReservationProcess, reservationProjection } from './reservation.process.js';
import { history } from './server.fixtures.js';
import { serverAggregate } from './server-lifecycle.js';

const projectId = 'p1' as ProjectId;
const owner = ownerOf(history.serverId);

const reserved = async () => {
  const { core, world } = memoryCore([reservationProjection]);
  core.run(new ReservationProcess(core));
  await core.start();
  await core.commands.execute(
    quotaAggregate,
    projectId,
    { type: 'reserve', projectId, reservations: [{ owner, amounts: { instances: 1 } }], atLeast: 1, defaults: {} },
    userContext(),
  );
  const used = async () => (await core.commands.load(quotaAggregate, projectId)).used.instances ?? 0;
  const create = () =>
    core.commands.execute(
      serverAggregate,
      history.serverId,
      { type: 'create', request: history.request },
      userContext(),
    );
  return { world, used, create };
};

describe('quota that was reserved for a server', () => {
  it('is given back when the server never came, and the server cannot come late', async () => {
    const c = await reserved();
    await c.world.clock.runUntil(async () => (await c.used()) === 0, minutes(5));
    await expect(c.create()).rejects.toMatchObject({ kind: 'conflict' });
  });

  it('stays while the server lives', async () => {
    const c = await reserved();
    await c.create();
    await c.world.clock.advance(minutes(10));
    expect(await c.used()).toBe(1);
  });
});
