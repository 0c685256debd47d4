import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, TestPool } from '../testing/pool.js';

let pool: TestPool;
beforeAll(async () => {
  pool = await TestPool.start();
});
afterAll(() => pool.stop());

const from = (classes: string[], token = '', timeout = 5) => pool.call('event.from', classes, token, timeout);

describe('event.from', () => {
  it('begins with everything there is, and a token', async () => {
    const { events, token, valid_ref_counts } = await from(['VM', 'host']);
    expect(new Set(events.map((e: Answer) => e.class))).toEqual(new Set(['vm', 'host']));
    expect(events.every((e: Answer) => e.operation === 'add' && e.snapshot.uuid)).toBe(true);
    expect(valid_ref_counts).toMatchObject({ vm: 2, host: 1, task: 0 });
    expect(token).toMatch(/^\d{20},\d{20}$/);
  });

  it('waits for the next change, and tells it once', async () => {
    const { token } = await from(['VM']);
    const next = from(['VM'], token);
    const vm = await pool.vm();
    const first = await next;
    expect(first.events).toMatchObject([{ operation: 'add', ref: vm, class: 'vm' }]);
    await pool.call('VM.set_name_label', vm, 'b');
    await pool.call('VM.set_name_label', vm, 'c');
    const second = await from(['VM'], first.token);
    expect(second.events).toMatchObject([{ operation: 'mod', ref: vm, snapshot: { name_label: 'c' } }]);
    await pool.call('VM.destroy', vm);
    const third = await from(['VM'], second.token);
    expect(third.events).toMatchObject([{ operation: 'del', ref: vm }]);
    expect(third.events[0].snapshot).toBeUndefined();
  });

  it('says nothing of what came and went between two calls', async () => {
    const { token } = await from(['VM']);
    await pool.call('VM.destroy', await pool.vm());
    expect((await from(['VM'], token, 0.05)).events).toEqual([]);
  });

  it('tells of one object only when asked so', async () => {
    const [one, other] = [await pool.vm(), await pool.vm()];
    const { token, events } = await from([`vm/${one}`]);
    expect(events).toMatchObject([{ ref: one }]);
    await pool.call('VM.set_name_label', other, 'x');
    expect((await from([`VM/${one}`], token, 0.05)).events).toEqual([]);
    for (const vm of [one, other]) await pool.call('VM.destroy', vm);
  });

  it('shows the owner of a device that came', async () => {
    const vm = await pool.vm();
    const { token } = await from(['VM']);
    await pool.vif(vm);
    const { events } = await from(['VM'], token);
    expect(events).toMatchObject([{ ref: vm, snapshot: { VIFs: [expect.any(String)] } }]);
    await pool.call('VM.destroy', vm);
  });

  it('goes on from a token that an injected event gave', async () => {
    const [ref] = await pool.call('pool.get_all');
    const token = await pool.call('event.inject', 'pool', ref);
    expect((await from(['pool'], token)).events).toMatchObject([{ operation: 'mod', ref }]);
    expect(await pool.refusal('event.inject', 'pool', 'OpaqueRef:no')).toEqual([
      'HANDLE_INVALID',
      'pool',
      'OpaqueRef:no',
    ]);
  });

  it('refuses a token or a subscription that is none', async () => {
    expect(await pool.refusal('event.from', ['VM'], 'soon', 1)).toEqual(['EVENT_FROM_TOKEN_PARSE_FAILURE', 'soon']);
    expect(await pool.refusal('event.from', ['a/b/c'], '', 1)).toEqual(['EVENT_SUBSCRIPTION_PARSE_FAILURE', 'a/b/c']);
  });

  it('says nothing after a token of a master that had counted further', async () => {
    const { token } = await from(['VM']);
    pool.double.db.countBack(1_000);
    const vm = await pool.vm();
    expect((await from(['VM'], token, 0.05)).events).toEqual([]);
    expect((await from(['VM'])).events).toContainEqual(expect.objectContaining({ operation: 'add', ref: vm }));
    await pool.call('VM.destroy', vm);
  });

  it('ends with its session', async () => {
    const session = await pool.login();
    const { token } = await pool.raw('event.from', [session, ['VM'], '', 1]);
    const waiting = pool.raw('event.from', [session, ['VM'], token, 30]);
    await pool.raw('session.logout', [session]);
    await expect(waiting).rejects.toThrow(`SESSION_INVALID ${session}`);
  });
});

describe('provoked', () => {
  it('failures hit the calls they are for, as often as wanted', async () => {
    pool.double.faults.add({ method: 'VM.get_all', error: ['TOO_BUSY'], times: 2 });
    for (let i = 0; i < 2; i++) expect(await pool.refusal('VM.get_all')).toEqual(['TOO_BUSY']);
    expect(await pool.call('VM.get_all')).toHaveLength(2);
    expect(() => pool.double.faults.add({ method: 'x', error: ['TOO_BUSY'] })).not.toThrow();
    pool.double.faults.clear();
  });

  it('losses happen after the call was carried out', async () => {
    pool.double.faults.add({ method: 'VM.create', loseAnswer: true, times: 1 });
    const before = (await pool.call('VM.get_all')).length;
    await expect(pool.vm()).rejects.toThrow('fetch failed');
    expect(await pool.call('VM.get_all')).toHaveLength(before + 1);
  });

  it('cuts of the network break connections, or leave them unanswered', async () => {
    pool.double.cutMember(0, 'refuse');
    await expect(pool.call('VM.get_all')).rejects.toThrow('fetch failed');
    pool.double.cutMember(0, 'silence');
    const answer = await Promise.race([
      pool.call('VM.get_all').catch(() => 'broken'),
      new Promise((resolve) => setTimeout(resolve, 50, 'nothing')),
    ]);
    expect(answer).toBe('nothing');
    pool.double.cutMember(0, 'refuse');
    pool.double.cutMember(0, null);
    expect(await pool.call('VM.get_all')).toBeInstanceOf(Array);
  });
});
