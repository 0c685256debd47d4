import {
  type Instant,
  joinPersonal,
  type NewEvent,
  NO_STREAM,
  type PersonalSubject,
  personalFieldsOf,
} from '@omnivisor/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MemoryEventStore } from '../memory/index.js';
import { MemorySealStore, newSeed, Sealer, signerOf, verifyLog } from '../seal/index.js';
import { contextOf } from '../testing/event-store-suite.js';
import { MemoryVault } from '../vault/index.js';
import { openBox } from './box.js';
import { KEYS_REMEMBERED, PersonalKeys, personalStream } from './personal-keys.js';
import { PersonalStore } from './personal-store.js';

const signer = signerOf('cloud.example/log', newSeed());
let commands = 0;
const event = (type: string, data: unknown): NewEvent => ({
  type,
  data,
  schemaVersion: 1,
  context: contextOf(`c${commands++}`),
});
const user = (id: string, attributes: object) => event('UserCreated', { id, attributes });
const server = (serverId: string, description: string) =>
  event('ServerCreateRequested', { serverId, projectId: 'p1', description, publicKey: null });

const cloud = () => {
  const time = { now: Date.parse('2026-01-01T00:00:00Z') };
  const clock = { now: () => new Date(time.now++).toISOString() as Instant, after: () => () => {} };
  const log = new MemoryEventStore(clock, {
    ordered: () => `00000000-0000-7000-8000-${String(commands++).padStart(12, '0')}`,
  });
  const vault = new MemoryVault();
  const open = () => {
    const keys = new PersonalKeys(log, vault, () => time.now);
    return { keys, store: new PersonalStore(log, keys) };
  };
  const seals = new MemorySealStore();
  const verify = async () => {
    const sealer = new Sealer({
      store: log,
      seals,
      clock,
      origin: 'cloud.example/log',
      signers: async () => [signer],
      sealed: () => {},
      onError: () => {},
    });
    sealer.start();
    await sealer.stop();
    return verifyLog({ store: log, seals, keys: [signer.verifier] });
  };
  const text = async () => JSON.stringify(await log.readStored(0, 10_000));
  const erase = async (keys: PersonalKeys, subject: PersonalSubject) => {
    const erased = event('PersonalDataErased', { subject, reason: 'asked to', by: 'operator' });
    const { length } = await log.readStream(personalStream(subject));
    await log.append(personalStream(subject), length - 1, [erased]);
    await keys.destroy(subject);
  };
  return { time, log, vault, open, verify, text, erase, ...open() };
};

const jane: PersonalSubject = { kind: 'user', id: 'u1' };
const attributes = {
  name: 'Jane Doe',
  domainId: 'default',
  description: 'the lodger',
  extra: { email: 'jane@x.example' },
};
const blank = { ...attributes, name: 'erased', description: 'erased', extra: {} };

describe('personal fields in the log', () => {
  it('are read as they were written, stand nowhere in it, and are gone with their key', async () => {
    const c = cloud();
    const appended = await c.store.append('user-u1', NO_STREAM, [user('u1', attributes)]);
    expect(appended.events[0]!.data).toEqual({ id: 'u1', attributes });
    expect((await c.store.readStream('user-u1'))[0]!.data).toEqual({ id: 'u1', attributes });
    expect((await c.open().store.readAll(0, 9)).at(-1)!.data).toEqual({ id: 'u1', attributes });
    expect(await c.text()).not.toMatch(/Jane|lodger|x\.example/);
    await c.erase(c.keys, jane);
    for (const { store } of [c, c.open()])
      expect((await store.readStream('user-u1'))[0]!.data).toEqual({ id: 'u1', attributes: blank });
  });

  it('are not recorded any more of who is erased', async () => {
    const c = cloud();
    await c.store.append('user-u1', NO_STREAM, [user('u1', attributes)]);
    await c.erase(c.keys, jane);
    const changed = await c
      .open()
      .store.append('user-u1', 0, [event('UserUpdated', { id: 'u1', changes: { name: 'J' } })]);
    expect(changed.events[0]!.data).toEqual({ id: 'u1', changes: { name: 'erased' } });
    expect(await c.text()).not.toContain('"J"');
  });

  it('are forgotten by another replica soon', async () => {
    const c = cloud();
    const other = c.open();
    await other.store.append('user-u1', NO_STREAM, [user('u1', attributes)]);
    await c.erase(c.keys, jane);
    c.time.now += KEYS_REMEMBERED;
    expect((await other.store.readStream('user-u1'))[0]!.data).toEqual({ id: 'u1', attributes: blank });
  });

  it('have one key, whichever replicas are the first to need it', async () => {
    const c = cloud();
    const replicas = [c.open(), c.open(), c.open()];
    await Promise.all(
      replicas.map(({ store }, i) => store.append(`user-u1-${i}`, NO_STREAM, [user('u1', attributes)])),
    );
    expect(await c.keys.refs(jane)).toHaveLength(1);
    for (const { store } of replicas)
      for (const recorded of (await store.readAll(0, 9)).filter(({ type }) => type === 'UserCreated'))
        expect(recorded.data).toEqual({ id: 'u1', attributes });
  });

  it('of a change that does not say whose they are belong to whom the stream began with', async () => {
    const c = cloud();
    const described = event('ServerDescriptionChanged', { serverId: 's', description: "Jane's" });
    await c.store.appendEach('server-s', NO_STREAM, [[server('s', 'of Jane')], [described]]);
    await c.store.append('server-s', 1, [
      event('ServerDescriptionChanged', { serverId: 's', description: 'Jane again' }),
    ]);
    expect(await c.text()).not.toContain('Jane');
    await c.erase(c.keys, { kind: 'project', id: 'p1' });
    const descriptions = (await c.store.readStream('server-s')).map(
      ({ data }) => (data as { description: string }).description,
    );
    expect(descriptions).toEqual(['erased', 'erased', 'erased']);
  });

  it('of an older release are read in the clear, as they stand', async () => {
    const c = cloud();
    await c.log.append('user-u1', NO_STREAM, [user('u1', attributes)]);
    expect((await c.store.readStream('user-u1'))[0]!.data).toEqual({ id: 'u1', attributes });
    await c.store.append('user-u1', 0, [event('UserUpdated', { id: 'u1', changes: { name: 'Jane Roe' } })]);
    expect((await c.store.readStream('user-u1'))[1]!.data).toEqual({ id: 'u1', changes: { name: 'Jane Roe' } });
    expect(await c.text()).not.toContain('Jane Roe');
  });

  it('do not open in another stream', async () => {
    const c = cloud();
    await c.store.append('user-u1', NO_STREAM, [user('u1', attributes)]);
    const [stolen] = (await c.log.readStream('user-u1')) as unknown as NewEvent[];
    await c.log.append('user-u2', NO_STREAM, [{ ...stolen!, context: contextOf('theft') }]);
    await expect(c.store.readStream('user-u2')).rejects.toThrow(/were changed, or closed by another key/);
  });

  it('open as the first release closed them', () => {
    const box =
      'cKj/ypQr/uCRqxZmq94EO9meCT7bpy9prUjN2a4zNCZVZPNB0nugxVdHzd/QMq4BAig6HjsVv/SJc2eDqpq7GtRwgNoiu/lrMtZZsNIfLtArIIBf0sd5ulWtz7rJAG0hr8eHOZLu+nc=';
    const values = openBox({ key: 'k', box }, Buffer.alloc(32, 7), 'user-u1', 'UserCreated');
    expect(values).toEqual({ 'attributes.name': 'Jane Doe', 'attributes.extra': { email: 'jane@x.example' } });
    expect(joinPersonal({ id: 'u1', attributes: blank }, values)).toEqual({
      id: 'u1',
      attributes: { ...attributes, description: 'erased' },
    });
  });

  it('give the first result again when a command comes twice', async () => {
    const c = cloud();
    const created = user('u1', attributes);
    await c.store.append('user-u1', NO_STREAM, [created]);
    const again = await c.store.append('user-u1', NO_STREAM, [created]);
    expect(again).toMatchObject({ duplicate: true, events: [{ data: { id: 'u1', attributes } }] });
  });

  it('whatever they are, leave the proof as it was, and nothing of themselves', async () => {
    const word = fc.string({ minLength: 1 }).map((text) => `§${text}§`);
    const person = fc.record({ name: word, description: fc.option(word), extra: fc.dictionary(fc.string(), word) });
    await fc.assert(
      fc.asyncProperty(fc.array(person, { minLength: 1, maxLength: 6 }), fc.nat(5), async (people, whom) => {
        const c = cloud();
        for (const [i, one] of people.entries()) await c.store.append(`user-u${i}`, NO_STREAM, [user(`u${i}`, one)]);
        expect(await c.text()).not.toContain('§');
        const before = await c.verify();
        const erased = `u${whom % people.length}`;
        await c.erase(c.keys, { kind: 'user', id: erased });
        const after = await c.verify();
        expect([before.ok, after.ok]).toEqual([true, true]);
        expect(after.events).toBe(before.events + 1);
        for (const { type, data } of await c.open().store.readAll(0, 100)) {
          if (type !== 'UserCreated') continue;
          const { id, attributes: read } = data as { id: string; attributes: object };
          if (id !== erased) expect(read).toEqual(people[Number(id.slice(1))]);
          else expect(JSON.stringify(read)).not.toContain('§');
        }
      }),
      { numRuns: 60 },
    );
  });

  it('need no key where there are none', async () => {
    const c = cloud();
    expect(personalFieldsOf('ServerSpawned')).toEqual([]);
    const events = [event('ServerSpawned', { serverId: 's' })];
    await c.store.append('server-s', NO_STREAM, events);
    expect(await c.log.head()).toBe(1);
  });
});
