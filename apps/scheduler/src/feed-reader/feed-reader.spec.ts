import {
  AdminReply,
  AdminRequest,
  adminSubject,
  endpoint,
  type FeedReaderEvent,
  type Instant,
  seconds,
} from '@omnivisor/contracts';
import { MemoryLeadership } from '@omnivisor/eventsourcing/memory';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { createAuthority, createUserKey } from '@omnivisor/platform';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Scheduler } from '../scheduler.js';
import { Simulation } from '../testing/simulation.js';
import { feedReaderAggregate } from './feed-reader.js';

const admit = (publicKey: string, days = 1) => ({
  name: 'siem',
  publicKey,
  subjects: ['cadf.>'],
  expiresAt: `2026-01-0${days}T00:00:00.000Z` as Instant,
});
const admitted = (publicKey: string, days = 1): FeedReaderEvent => ({
  type: 'FeedReaderAdmitted',
  data: admit(publicKey, days),
});
const revoked = (publicKey: string): FeedReaderEvent => ({
  type: 'FeedReaderRevoked',
  data: { name: 'siem', publicKey },
});
const given = specificationOf(feedReaderAggregate);

describe('a reader of feeds', () => {
  it('is let in with one key, as often as it is asked for', () => {
    given()
      .when({ type: 'admit', ...admit('U1') })
      .then(admitted('U1'));
    given(admitted('U1'))
      .when({ type: 'admit', ...admit('U1', 2) })
      .then(admitted('U1', 2));
    given(admitted('U1'))
      .when({ type: 'admit', ...admit('U2') })
      .thenRefused('conflict', /another key/);
  });

  it('that was revoked comes back with another key only', () => {
    given(admitted('U1')).when({ type: 'revoke', name: 'siem' }).then(revoked('U1'));
    const past = [admitted('U1'), revoked('U1')];
    given(...past)
      .when({ type: 'revoke', name: 'siem' })
      .thenNothing();
    given(...past)
      .when({ type: 'admit', ...admit('U1') })
      .thenRefused('conflict', /was revoked/);
    given(...past)
      .when({ type: 'admit', ...admit('U2') })
      .then(admitted('U2'));
    given().when({ type: 'revoke', name: 'siem' }).thenRefused('notFound');
  });
});

describe('the desk for readers of feeds', () => {
  let sim: Simulation;
  let revokedKeys: string[];
  beforeEach(async () => {
    sim = new Simulation();
    revokedKeys = [];
    const { clock, ids, bus, store, seat } = sim;
    const scheduler = new Scheduler(
      { clock, ids, bus, store, leadership: new MemoryLeadership(seat) },
      {
        cloudId: 'cloud',
        natsAccountSeed: (await createAuthority('spec')).accountSeed,
        revokeKeys: async (keys) => void revokedKeys.push(...keys),
        onError: (...error) => sim.errors.push(error),
      },
    );
    sim.schedulers.push(scheduler);
    await scheduler.start();
    await sim.settle();
  });
  afterEach(() => sim.stop());

  const ask = async (command: string, args: object = {}) =>
    (
      await sim.bus.request(endpoint(adminSubject('scheduler', command), AdminRequest, AdminReply), {
        args: args as never,
      })
    ).result as Record<string, unknown>;
  const key = createUserKey();
  const wanted = { name: 'siem', publicKey: key.publicKey, feeds: ['cadf'], days: 30 };
  const claims = (jwt: unknown) => JSON.parse(Buffer.from(String(jwt).split('.')[1]!, 'base64url').toString());

  it('signs that a key may hear the feeds, and nothing else, for a time', async () => {
    const { jwt, ...told } = await ask('feed-admit', { ...wanted, feeds: ['cadf', 'notifications'] });
    const until = new Date(Date.parse(sim.clock.now()) + 30 * 86_400_000).toISOString();
    expect(told).toMatchObject({ name: 'siem', expiresAt: until, revoked: false });
    const { sub, exp, nats } = claims(jwt);
    expect([sub, exp]).toEqual([key.publicKey, Math.floor(Date.parse(until) / 1_000)]);
    expect(nats.sub.allow).toEqual(['cadf.>', 'versioned_notifications.>', '_INBOX_reader_siem.>']);
    expect(nats.pub).toEqual({ allow: [], deny: ['>'] });
    expect(await ask('feed-list')).toEqual([told]);
  });

  it('lets an auditor of a project hear the matters of this project', async () => {
    const { subjects } = await ask('feed-admit', { ...wanted, project: 'p1' });
    expect(subjects).toEqual(['cadf.project.p1']);
  });

  it('has a key refused that is revoked', async () => {
    await ask('feed-admit', wanted);
    expect(await ask('feed-revoke', { name: 'siem' })).toMatchObject({ revoked: true });
    await sim.clock.advance(seconds(1));
    expect(revokedKeys).toContain(key.publicKey);
    await expect(ask('feed-admit', wanted)).rejects.toMatchObject({ kind: 'conflict' });
  });

  it.each([
    [{ name: 'a.b' }, 'invalid'],
    [{ name: '*' }, 'invalid'],
    [{ publicKey: 'U1' }, 'invalid'],
    [{ feeds: ['$JS.>'] }, 'invalid'],
    [{ feeds: [] }, 'invalid'],
    [{ project: '>' }, 'invalid'],
    [{ project: 'p1', feeds: ['events'] }, 'invalid'],
    [{ days: 0 }, 'invalid'],
  ])('refuses %j', async (change, kind) => {
    await expect(ask('feed-admit', { ...wanted, ...change })).rejects.toMatchObject({ kind });
    expect(await ask('feed-list')).toEqual([]);
  });
});
