import { PermissionViolationError } from '@nats-io/transport-node';
import * as contracts from '@omnivisor/contracts';
import { endpoint, hostBus } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { describeBus } from '../testing/bus-behaviour.js';
import { type PrivateNats, privateNats } from '../testing/private-nats.js';
import { createUserKey, credsText, hostInbox, hostPermissions, serviceCredentials, signUser } from './credentials.js';
import { NatsBus } from './nats-bus.js';

let nats: PrivateNats;
beforeAll(async () => {
  nats = await privateNats();
});
afterAll(() => nats?.close());

const service = async (name: string) =>
  NatsBus.connect({
    servers: nats.url,
    name,
    credentials: { kind: 'creds', text: await serviceCredentials(nats.authority, name) },
  });

const hostCreds = async (hostId: string) => {
  const key = createUserKey();
  const jwt = await signUser(nats.authority.accountSeed, 'a host', key.publicKey, hostPermissions(hostId));
  return credsText(jwt, key.seed);
};

describeBus({
  name: 'NATS',
  open: async () => {
    const [a, b] = await Promise.all([service('a'), service('b')]);
    return {
      a,
      b,
      close: async () => {
        await Promise.all([a.close(), b.close()]);
      },
    };
  },
  settle: async (done) => {
    await vi.waitFor(() => {
      if (!done()) throw new Error('not yet');
    });
  },
});

describe('a lost NATS server', () => {
  it('fails requests at once, and is taken up again by itself', async () => {
    const ask = endpoint('lost.ask', z.object({}), z.object({ n: z.number() }));
    const [a, b] = await Promise.all([service('a'), service('b')]);
    await a.respond(ask, async () => ({ n: 1 }));
    let restored = 0;
    b.onRestored(() => restored++);
    await nats.stop();
    await vi.waitFor(() => expect(b.connected()).toBe(false));
    await expect(b.request({ ...ask, timeout: 60_000 }, {})).rejects.toMatchObject({ kind: 'unavailable' });
    await nats.start();
    await vi.waitFor(async () => expect(await b.request(ask, {})).toEqual({ n: 1 }), { timeout: 15_000 });
    expect(restored).toBe(1);
    await Promise.all([a.close(), b.close()]);
  });

  it('refuses a key that nobody signed', async () => {
    const key = createUserKey();
    const { accountSeed } = await import('./credentials.js').then((m) => m.createAuthority('other'));
    const text = credsText(await signUser(accountSeed, 'x', key.publicKey, hostPermissions('h')), key.seed);
    await expect(
      NatsBus.connect({ servers: nats.url, name: 'x', credentials: { kind: 'creds', text }, wait: false }),
    ).rejects.toThrow();
  });
});

describe("a compute host's key", () => {
  const mine = '11111111-1111-4111-8111-111111111111';
  const other = '22222222-2222-4222-8222-222222222222';
  const isEndpoint = (value: unknown): value is contracts.Endpoint =>
    typeof value === 'object' && value !== null && 'subject' in value && 'reply' in value;
  /** Every subject that a service of ours answers, from the contracts themselves. */
  const known: unknown[] = [...Object.values(contracts), ...Object.values(hostBus)];
  const asked = known.filter(isEndpoint).map((e) => e.subject);
  const ofHosts = asked.filter((subject) => subject.includes('*'));
  const subjects = [
    ...asked.filter((subject) => !subject.includes('*')),
    ...ofHosts.map((subject) => subject.replace('*', other)),
    contracts.adminSubject('scheduler', 'host-retire'),
    contracts.adminSubject('api-gateway', 'audit-list'),
    'log.appended',
    'omnivisor.events.server',
    '$SYS.REQ.SERVER.PING',
    '$SYS.REQ.ACCOUNT.PING.CONNZ',
    '$SYS.REQ.USER.INFO',
    '$JS.API.INFO',
    '$JS.API.STREAM.LIST',
    '$JS.API.STREAM.CREATE.X',
    '$JS.ACK.X',
    '$KV.X.y',
    '$O.X.C.y',
    '_INBOX.anything',
    `_INBOX_${other}.x`,
    `_INBOX_${mine}.x`,
    `wake.${mine}`,
    `wake.${other}`,
    `wake.${mine}.x`,
    'host',
    'host.x',
    `host.${mine}`,
    `hosts.${mine}.report`,
  ];
  /** What only a subscription can name, or only a subscription is refused. */
  const patterns = [
    ...ofHosts,
    ...ofHosts.map((subject) => subject.replace('*', mine)),
    '>',
    '*',
    '*.>',
    'host.>',
    `host.${mine}.>`,
    'wake.*',
    'wake.>',
    '_INBOX.>',
    '_INBOX_*.>',
    '$SYS.>',
    '$JS.>',
    'admin.>',
  ];

  const raw = async () => {
    const { connect, credsAuthenticator } = await import('@nats-io/transport-node');
    return connect({
      servers: nats.url,
      authenticator: credsAuthenticator(new TextEncoder().encode(await hostCreds(mine))),
      inboxPrefix: hostInbox(mine),
    });
  };

  it('lets it speak as itself and be answered', async () => {
    const gateway = await service('gateway');
    await gateway.respond(hostBus.beat, async () => ({ changedAt: 3 }));
    const host = await NatsBus.connect({
      servers: nats.url,
      name: 'agent',
      credentials: { kind: 'creds', text: await hostCreds(mine) },
      inboxPrefix: hostInbox(mine),
    });
    expect(await host.request(hostBus.beat, { session: 1 }, `host.${mine}.beat`)).toEqual({ changedAt: 3 });
    const woken: unknown[] = [];
    await host.subscribe(hostBus.wakeSubject(mine), (m) => woken.push(m));
    gateway.publish(hostBus.wakeSubject(mine), { kind: 'desired' });
    await vi.waitFor(() => expect(woken).toEqual([{ kind: 'desired' }]));
    await Promise.all([gateway.close(), host.close()]);
  });

  it('can say all that a host has to say', async () => {
    expect(ofHosts.length).toBeGreaterThan(8);
    const gateway = await service('gateway');
    const arrived: string[] = [];
    await gateway.subscribe('host.>', (_, subject) => arrived.push(subject));
    const host = await raw();
    const own = ofHosts.map((subject) => subject.replace('*', mine));
    for (const subject of own) host.publish(subject, '{}');
    await vi.waitFor(() => expect(arrived.sort()).toEqual(own.sort()));
    await Promise.all([gateway.close(), host.close()]);
  });

  it('cannot publish anywhere else', async () => {
    const gateway = await service('gateway');
    const arrived: string[] = [];
    await gateway.subscribe('>', (_, subject) => arrived.push(subject));
    const host = await raw();
    const refused: string[] = [];
    void (async () => {
      for await (const s of host.status())
        if (s.type === 'error' && s.error instanceof PermissionViolationError) refused.push(s.error.subject);
    })();
    for (const subject of subjects) host.publish(subject, '{}');
    host.publish(`host.${mine}.fence-post`, '{}');
    await vi.waitFor(() => expect(arrived).toContain(`host.${mine}.fence-post`));
    expect(refused.sort()).toEqual(subjects.sort());
    expect(arrived).toEqual([`host.${mine}.fence-post`]);
    await Promise.all([gateway.close(), host.close()]);
  });

  it('cannot subscribe anywhere else, nor take its turn in a queue', async () => {
    const host = await raw();
    const heard = (s: string) => s === `wake.${mine}` || s === `_INBOX_${mine}.x`;
    for (const subject of [...patterns, ...subjects.filter((s) => !heard(s))])
      for (const queue of [{}, { queue: 'api-gateway' }]) {
        const refused = new Promise<unknown>((resolve) => {
          host.subscribe(subject, { ...queue, callback: (error) => resolve(error ?? 'heard') });
        });
        expect(String(await refused), subject).toMatch(/permission/i);
      }
    await host.close();
  });

  it('cannot borrow the voice of a service by naming its answer subject', async () => {
    const gateway = await service('gateway');
    let asked = 0;
    await gateway.respond(hostBus.beat, async () => {
      asked++;
      return { changedAt: 0 };
    });
    const said: string[] = [];
    for (const subject of [`wake.${other}`, 'log.appended', 'scheduler.reserve'])
      await gateway.subscribe(subject, (_, s) => said.push(s));
    const host = await raw();
    for (const reply of [
      `wake.${other}`,
      'log.appended',
      'scheduler.reserve',
      `_INBOX_${other}.x`,
      '_INBOX_scheduler.x',
    ])
      host.publish(`host.${mine}.beat`, '{"session":1}', { reply });
    await host.request(`host.${mine}.beat`, '{"session":1}');
    expect(asked).toBe(1);
    expect(said).toEqual([]);
    await Promise.all([gateway.close(), host.close()]);
  });
});
