import { connect, type NatsConnection } from '@nats-io/transport-node';
import { servicePermissions } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type PrivateNats, privateNats } from '../testing/private-nats.js';
import { createUserKey, credsText, readerPermissions, serviceCredentials, signUser } from './credentials.js';
import { KeyRevoker } from './key-revoker.js';
import { authenticator } from './login.js';

let nats: PrivateNats;
let gateway: NatsConnection;
const open = (text: string) =>
  connect({ servers: nats.url, reconnect: false, ...authenticator({ kind: 'creds', text }) });
beforeAll(async () => {
  nats = await privateNats();
  gateway = await open(await serviceCredentials(nats.authority, 'api-gateway', servicePermissions['api-gateway']));
});
afterAll(async () => {
  await gateway?.close();
  await nats?.close();
});

const reader = async (subjects: readonly string[], lasts = 60_000) => {
  const key = createUserKey();
  const permissions = readerPermissions('siem', subjects);
  const expires = Date.now() + lasts;
  const jwt = await signUser(nats.authority.accountSeed, 'siem', key.publicKey, permissions, { expires });
  return { publicKey: key.publicKey, creds: credsText(jwt, key.seed) };
};

/** What of these subjects it is refused. */
const refused = async (connection: NatsConnection, subjects: readonly string[]): Promise<string[]> => {
  const found: string[] = [];
  for (const subject of subjects)
    connection.subscribe(subject, { callback: (error) => void (error && found.push(subject)) });
  await connection.flush();
  await connection.flush();
  return found;
};

describe('a reader of feeds', () => {
  it('hears its feeds and nothing else', async () => {
    const connection = await open((await reader(['cadf.project.p1'])).creds);
    const heard: string[] = [];
    connection.subscribe('cadf.project.p1', {
      callback: (_, message) => void (message && heard.push(message.string())),
    });
    await connection.flush();
    gateway.publish('cadf.project.p1', 'mine');
    gateway.publish('cadf.project.p2', 'not mine');
    await vi.waitFor(() => expect(heard).toEqual(['mine']));
    const others = ['cadf.>', 'cadf.project.*', 'cadf.project.p2', 'events.>', '>', '_INBOX.>', '_INBOX_*.>'];
    others.push('versioned_notifications.info', 'log.appended', '_INBOX_api-gateway.>', 'host.>', 'admin.>', '$JS.>');
    expect(await refused(connection, others)).toEqual(others);
    expect(await refused(connection, ['_INBOX_reader_siem.>'])).toEqual([]);
    await connection.close();
  });

  it('says nothing', async () => {
    const connection = await open((await reader(['cadf.>'])).creds);
    const watcher = await open(await serviceCredentials(nats.authority, 'watcher'));
    const heard: string[] = [];
    watcher.subscribe('>', { callback: (_, message) => void (message && heard.push(message.subject)) });
    await watcher.flush();
    for (const subject of [
      'cadf.cloud',
      'cadf.project.p1',
      'log.appended',
      '$JS.API.INFO',
      'admin.scheduler.feed-list',
    ])
      connection.publish(subject, '{}');
    await connection.flush();
    gateway.publish('log.appended', '{}');
    await vi.waitFor(() => expect(heard).toContain('log.appended'));
    expect(heard).toEqual(['log.appended']);
    await Promise.all([connection.close(), watcher.close()]);
  });

  it('is cut off when its time is over', async () => {
    const { creds } = await reader(['cadf.>'], 6_000);
    const connection = await open(creds);
    await connection.closed();
    // To the server the second in which it ends is still within.
    const again = () =>
      open(creds).then(
        async (late) => {
          await late.close();
          return 'let in';
        },
        (error: unknown) => String(error),
      );
    await expect.poll(again, { timeout: 10_000 }).toMatch(/authorization|expired/i);
  });

  it('is cut off when it is revoked', async () => {
    const { creds, publicKey } = await reader(['cadf.>']);
    const connection = await open(creds);
    const revoker = await KeyRevoker.connect({ servers: nats.url }, nats.authority);
    await revoker.revoke([publicKey]);
    await connection.closed();
    await expect(open(creds)).rejects.toThrow(/authorization/i);
    await revoker.close();
  });
});
